"""Text on its way into a model: pairs of texts to token ids, the same in training and in serving.

``PairTokenizer`` reads the ``tokenizer.json`` of a fast tokenizer. It caps the query, cuts the document to what is
left, never lets a text forge special tokens, and pads to rectangles:

>>> import tokenizers
>>> from jrank import text
>>> words = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "what": 4, "is": 5, "jax": 6}
>>> inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
>>> inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
>>> inner.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
>>> tokenizer = text.PairTokenizer.from_bytes(inner.to_str())
>>> encoded = tokenizer.encode_pairs([("what is jax", "jax"), ("jax", "what is what")], max_length=7)
>>> input_ids, attention_mask, token_type_ids = tokenizer.pad(encoded)
>>> input_ids.tolist()
[[1, 4, 5, 6, 2, 6, 2], [1, 6, 2, 4, 5, 4, 2]]

``Analyzer`` cuts a text into the terms that lexical search counts:

>>> text.Analyzer()("The foxes were running")
['fox', 'were', 'run']

Nothing here imports jax.
"""

from jrank.text._analyzers import Analyzer, EncodedTexts, TokenizerAnalyzer, encode_texts
from jrank.text._encoded import Encoded
from jrank.text._limits import well_formed
from jrank.text._multi_vector import MultiVectorRules, TokenRules
from jrank.text._pairs import PairTokenizer
from jrank.text._passages import passages
from jrank.text._stop_words import ENGLISH_STOP_WORDS, STOP_WORDS
from jrank.text._tokenizer_file import TokenizerConfig, read_tokenizer_config

__all__ = [
    "ENGLISH_STOP_WORDS",
    "STOP_WORDS",
    "Analyzer",
    "Encoded",
    "EncodedTexts",
    "MultiVectorRules",
    "PairTokenizer",
    "TokenRules",
    "TokenizerAnalyzer",
    "TokenizerConfig",
    "encode_texts",
    "passages",
    "read_tokenizer_config",
    "well_formed",
]
