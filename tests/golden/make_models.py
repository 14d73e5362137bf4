"""Expected outputs of tiny encoders, computed by transformers in float64: writes models.json beside this file.

The weights are not stored: both sides draw them from a generator that is seeded by the name of the tensor (``weights``
below, and in tests/models/conftest.py). Made with torch 2.13.0 and transformers 5.24.0:

    pip install torch==2.13.0 transformers==5.24.0
    python tests/golden/make_models.py
"""

import json
import pathlib
import zlib

import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoModelForSequenceClassification
from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

SMALL = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
}
CASES = {
    "bert": {"model_type": "bert", **SMALL, "num_labels": 1},
    "bert-3-labels-tanh-gelu": {"model_type": "bert", **SMALL, "num_labels": 3, "hidden_act": "gelu_new"},
    "roberta": {"model_type": "roberta", **SMALL, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "num_labels": 1},
    "xlm-roberta": {"model_type": "xlm-roberta", **SMALL, "type_vocab_size": 1, "num_labels": 2},
    "electra": {"model_type": "electra", **SMALL, "embedding_size": 16, "num_labels": 1},
    "electra-projected": {"model_type": "electra", **SMALL, "embedding_size": 8, "num_labels": 2},
    "deberta-v3": {
        "model_type": "deberta-v2",
        **SMALL,
        "type_vocab_size": 0,
        "relative_attention": True,
        "position_buckets": 8,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": "p2c|c2p",
        "position_biased_input": False,
        "num_labels": 1,
    },
    "deberta-v2-apart": {
        "model_type": "deberta-v2",
        **SMALL,
        "type_vocab_size": 2,
        "embedding_size": 8,
        "relative_attention": True,
        "max_relative_positions": 6,
        "pos_att_type": ["c2p", "p2c"],
        "hidden_act": "gelu_new",
        "num_labels": 3,
    },
    "deberta-v2-c2p": {
        "model_type": "deberta-v2",
        **SMALL,
        "type_vocab_size": 0,
        "relative_attention": True,
        "position_buckets": 4,
        "max_relative_positions": 16,
        "share_att_key": True,
        "pos_att_type": ["c2p"],
        "num_labels": 2,
    },
    "deberta-v2-convolution": {
        "model_type": "deberta-v2",
        **SMALL,
        "type_vocab_size": 2,
        "relative_attention": True,
        "position_buckets": 8,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": "p2c|c2p",
        "conv_kernel_size": 5,
        "conv_act": "gelu",
        "pooler_hidden_act": "tanh",
        "num_labels": 1,
    },
    "distilbert": {
        "model_type": "distilbert",
        "vocab_size": 40,
        "dim": 16,
        "n_layers": 2,
        "n_heads": 4,
        "hidden_dim": 24,
        "max_position_embeddings": 32,
        "num_labels": 1,
    },
    "modernbert-cls": {
        "model_type": "modernbert",
        **SMALL,
        "num_hidden_layers": 4,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "cls_token_id": 1,
        "sep_token_id": 2,
        "local_attention": 8,
        "classifier_pooling": "cls",
        "num_labels": 1,
    },
    "modernbert-mean": {
        "model_type": "modernbert",
        **SMALL,
        "num_hidden_layers": 3,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "cls_token_id": 1,
        "sep_token_id": 2,
        "local_attention": 6,
        "classifier_pooling": "mean",
        "num_labels": 2,
    },
}
LENGTHS = (21, 5, 12)
BUCKETS = ((256, 512), (48, 512), (32, 128), (6, 20))


def weights(name, shape):
    """Values of a tensor: around 1 for the scale of a normalisation, around 0 for all else."""
    values = 0.2 * np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    return values + 1.0 if "norm" in name.lower() and name.endswith("weight") else values


def inputs(pad, types):
    """Three rows of random tokens, padded on the right."""
    rng = np.random.default_rng(7)
    ids = np.full((len(LENGTHS), max(LENGTHS)), pad)
    mask, kinds = np.zeros_like(ids), np.zeros_like(ids)
    for row, length in enumerate(LENGTHS):
        ids[row, :length] = rng.integers(3, 40, length)
        mask[row, :length] = 1
        kinds[row, length // 2 : length] = types - 1
    return ids, mask, kinds


def main():
    """Run every case and write the file."""
    cases = {}
    for name, fields in CASES.items():
        config = AutoConfig.for_model(**fields, attn_implementation="eager")
        model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").double().eval()
        state = model.state_dict()
        shapes = {key: list(value.shape) for key, value in state.items() if value.is_floating_point()}
        model.load_state_dict({**state, **{k: torch.tensor(weights(k, shape)) for k, shape in shapes.items()}})
        types = getattr(config, "type_vocab_size", 0) or 0
        ids, mask, kinds = inputs(config.pad_token_id, max(types, 1))
        logits, hidden = np.zeros((len(LENGTHS), config.num_labels)), np.zeros((*ids.shape, 16))
        for row, length in enumerate(LENGTHS):
            # Each row alone and without padding, so that nothing of the padding can be in the expected values.
            part = (slice(row, row + 1), slice(length))
            call = {"input_ids": torch.tensor(ids[part]), "attention_mask": torch.tensor(mask[part])}
            if types:
                call["token_type_ids"] = torch.tensor(kinds[part])
            with torch.no_grad():
                logits[row] = model(**call).logits.numpy()[0]
                hidden[row, :length] = getattr(model, model.base_model_prefix)(**call)[0].numpy()[0]
        written = {k: v for k, v in config.to_dict().items() if not k.startswith("_")}
        cases[name] = {
            "config": written,
            "shapes": shapes,
            "input_ids": ids.tolist(),
            "attention_mask": mask.tolist(),
            "token_type_ids": kinds.tolist() if types else None,
            "logits": logits.round(9).tolist(),
            "hidden": hidden.round(8).tolist(),
        }
    made = f"torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}, float64, eager attention"
    path = pathlib.Path(__file__).with_name("models.json")
    buckets = {
        f"{count} {furthest}": make_log_bucket_position(torch.arange(1 - furthest, furthest), count, furthest)
        .long()
        .tolist()
        for count, furthest in BUCKETS
    }
    path.write_text(json.dumps({"made_with": made, "cases": cases, "buckets": buckets}, sort_keys=True) + "\n")


main()
