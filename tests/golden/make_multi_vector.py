"""Write multi_vector.json: what PyLate computes for a tiny ColBERT (pip install pylate).

The weights are drawn by name, as in make_models.py; the test writes the same directory and reads it with jrank.
"""

import json
import pathlib
import sys
import tempfile
import zlib

import numpy as np
import pylate
import safetensors.numpy
import tokenizers
from pylate import models

HERE = pathlib.Path(__file__).parent
WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", "[Q] ", "[D] ", "what", "is", "jax", "a", "library", "?", "."]
CONFIG = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "vocab_size": len(WORDS),
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 24,
    "type_vocab_size": 2,
    "pad_token_id": 0,
}
SETTINGS = {"query_length": 9, "document_length": 12, "do_query_expansion": True, "skiplist_words": ["?", "."]}
QUERIES = ["what is jax ?", "jax", ""]
DOCUMENTS = ["jax is a library .", "a library . what is a library ? jax is a library . is jax ?", "? ."]


def draw(name, shape):
    values = 0.2 * np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    return (values + 1.0 if "norm" in name.lower() and name.endswith("weight") else values).astype(np.float32)


def tokenizer():
    words = {word: i for i, word in enumerate(WORDS)}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    inner.add_special_tokens(["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"])
    return inner


def main():
    from transformers import BertConfig, BertModel

    cases = {}
    for attend in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            place = pathlib.Path(folder)
            shapes = {
                name: list(value.shape)
                for name, value in BertModel(BertConfig(**CONFIG), add_pooling_layer=True).state_dict().items()
                if value.is_floating_point()
            }
            (place / "config.json").write_text(json.dumps(CONFIG))
            safetensors.numpy.save_file(
                {name: draw(name, shape) for name, shape in shapes.items()},
                place / "model.safetensors",
                metadata={"format": "pt"},
            )
            (place / "tokenizer.json").write_text(tokenizer().to_str())
            special = {f"{n}_token": f"[{n.upper()}]" for n in ("pad", "cls", "sep", "unk", "mask")}
            (place / "tokenizer_config.json").write_text(
                json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 24, **special})
            )
            settings = SETTINGS | {
                "attend_to_expansion_tokens": attend,
                "query_prefix": "[Q] ",
                "document_prefix": "[D] ",
            }
            (place / "config_sentence_transformers.json").write_text(json.dumps(settings))
            (place / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 24, "do_lower_case": False}))
            (place / "1_Dense").mkdir()
            dense = {
                "in_features": 8,
                "out_features": 4,
                "bias": False,
                "activation_function": "torch.nn.modules.linear.Identity",
            }
            (place / "1_Dense" / "config.json").write_text(json.dumps(dense))
            safetensors.numpy.save_file(
                {"linear.weight": draw("linear.weight", (4, 8))}, place / "1_Dense" / "model.safetensors"
            )
            modules = [
                {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
                {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"},
            ]
            (place / "modules.json").write_text(json.dumps(modules))
            model = models.ColBERT(str(place), device="cpu")
            found = {
                "queries": [m.tolist() for m in model.encode(QUERIES, is_query=True, show_progress_bar=False)],
                "documents": [m.tolist() for m in model.encode(DOCUMENTS, is_query=False, show_progress_bar=False)],
            }
            cases["attend" if attend else "plain"] = found | {"settings": settings}
            if len(sys.argv) > 1:
                model.save(sys.argv[1])
    values = {
        "pylate": pylate.__version__,
        "config": CONFIG,
        "shapes": shapes,
        "words": WORDS,
        "dense": dense,
        "modules": modules,
        "queries": QUERIES,
        "documents": DOCUMENTS,
        "cases": cases,
    }
    (HERE / "multi_vector.json").write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
