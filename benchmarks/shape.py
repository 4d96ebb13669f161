"""How long it takes to read the shape of a model without its weights, and how much memory.

python benchmarks/shape.py
"""

import argparse
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from autopeft.training.shape import empty_model, read_shape, shape_of
from autopeft.training.structure import analyse

MODELS: dict[str, dict[str, Any]] = {
    "BERT-base": {"model_type": "bert"},
    "T5-large": {
        "model_type": "t5", "d_model": 1024, "d_ff": 4096, "num_layers": 24, "num_heads": 16,
    },
    "Llama-3-70B": {
        "model_type": "llama", "vocab_size": 128256, "hidden_size": 8192,
        "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64,
        "num_key_value_heads": 8,
    },
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print("| model | parameters | read, s | by its structure, s | memory, MiB |")
    print("| --- | --: | --: | --: | --: |")
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.json"
        config.write_text(json.dumps({"model_type": "gpt2"}), encoding="utf-8")
        read_shape(folder)  # torch and transformers are loaded on the way
        for name, settings in MODELS.items():
            config.write_text(json.dumps(settings), encoding="utf-8")
            measure(name, folder, options.rounds)


def measure(name: str, folder: str, rounds: int) -> None:
    """Print the row of one model."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    parameters = read_shape(folder).parameters
    read = statistics.median(seconds(lambda: read_shape(folder)) for _ in range(rounds))
    blind = statistics.median(seconds(lambda: by_structure(folder)) for _ in range(rounds))
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"| {name} | {parameters:,} | {read:.2f} | {blind:.2f} | {grown_mib:.0f} |")


def by_structure(folder: str) -> None:
    """Read a shape as if no architecture file described the model."""
    model = empty_model(Path(folder), folder)
    shape_of(model, analyse(model, folder), name=folder, digest="")


def seconds(call: Any) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
