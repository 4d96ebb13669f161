"""The shapes of published models, built on the meta device from their settings alone."""

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from autopeft.backbone import Backbone
from autopeft.training.shape import read_shape

PUBLISHED: dict[str, dict[str, Any]] = {
    "bert-base": {"model_type": "bert"},
    "roberta-base": {
        "model_type": "roberta", "vocab_size": 50265, "max_position_embeddings": 514,
        "type_vocab_size": 1,
    },
    "roberta-large": {
        "model_type": "roberta", "vocab_size": 50265, "max_position_embeddings": 514,
        "type_vocab_size": 1, "hidden_size": 1024, "num_hidden_layers": 24,
        "num_attention_heads": 16, "intermediate_size": 4096,
    },
    "deberta-v3-base": {
        "model_type": "deberta-v2", "vocab_size": 128100, "hidden_size": 768,
        "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
        "type_vocab_size": 0, "relative_attention": True, "position_buckets": 256,
        "norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
    },
    "vit-b16": {"model_type": "vit"},
    "t5-base": {
        "model_type": "t5", "d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12,
    },
    "t5-large": {
        "model_type": "t5", "d_model": 1024, "d_ff": 4096, "num_layers": 24, "num_heads": 16,
    },
    "gpt2": {"model_type": "gpt2"},
    "llama-7b": {"model_type": "llama"},
    "llama-3-70b": {
        "model_type": "llama", "vocab_size": 128256, "hidden_size": 8192,
        "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64,
        "num_key_value_heads": 8,
    },
}  # fmt: skip
"""What stands in their ``config.json`` and counts."""


@cache
def published(name: str) -> Backbone:
    """Return the shape of a published model."""
    return shape_from_config(**PUBLISHED[name])


def shape_from_config(model_type: str, **settings: Any) -> Backbone:
    """Read the shape that a ``config.json`` with these settings describes."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.json"
        config.write_text(json.dumps({"model_type": model_type} | settings), encoding="utf-8")
        return read_shape(str(config))
