import pytest
import tokenizers

from jrank.text import PairTokenizer

WORDS = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]


@pytest.fixture(scope="session")
def tokenizer():
    """Ten letters as words, and BERT's special tokens."""
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", *WORDS])}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return PairTokenizer.from_bytes(inner.to_str())
