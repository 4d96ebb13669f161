"""How long a search space takes: counting and checking one configuration, and drawing many.

python benchmarks/spaces.py
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from autopeft.backbone import Backbone
from autopeft.search_spaces.catalog import slots_of
from autopeft.search_spaces.checking import faults
from autopeft.search_spaces.configuration import Configuration, Slot
from autopeft.search_spaces.sampling import Sampler
from autopeft.search_spaces.space import SearchSpace
from autopeft.search_spaces.written.named import named_configuration
from autopeft.search_spaces.written.reading import read_space
from autopeft.training.shape import read_shape

ROUNDS = 200
MODELS: dict[str, dict[str, Any]] = {
    "MiniLM": {
        "model_type": "bert", "hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536,
    },
    "BERT-base": {"model_type": "bert"},
    "T5-base": {
        "model_type": "t5", "d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12,
    },
}  # fmt: skip
"""What stands in their ``config.json`` and counts."""


def shape(name: str) -> Backbone:
    """Read the shape of a published model from its settings alone."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(MODELS[name]))
        return read_shape(folder)


def milliseconds(act: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the median time of a call."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        act()
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


def drawing(space: SearchSpace, ceiling: int, count: int) -> float:
    """Return the processor's seconds for drawing and decoding so many configurations."""
    began = time.process_time()
    sampler = Sampler(space, ceiling)
    for seed in range(count):
        space.decode(sampler.draw(np.random.default_rng(seed)))
    return time.process_time() - began


def checking(table: Configuration, slots: tuple[Slot, ...]) -> float:
    """Return the milliseconds of counting a configuration and looking for its faults."""
    return milliseconds(lambda: (table.parameters(slots), next(faults(table, slots), None)))


def all_slots(backbone: Backbone) -> tuple[float, float, int]:
    """Time LoRA at two sites, and the count of a table without a zero, over all slots."""
    slots = slots_of(backbone)
    few = named_configuration("lora-r8-qv").on(backbone, slots, None)
    many = Configuration(((1,) * len(slots),) * backbone.blocks)
    return checking(few, slots), milliseconds(lambda: many.parameters(slots)), len(slots)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=10_000)
    options = parser.parse_args()
    backbones = {name: shape(name) for name in MODELS}
    print("| space | genes | laying, ms | counting and checking, ms | draws | CPU s |")
    print("| --- | --: | --: | --: | --: | --: |")
    for model in ("MiniLM", "BERT-base"):
        backbone = backbones[model]
        ceiling = backbone.parameters // 100
        for name in ("unified", "lora", "autopeft", "noah", "s3pet", "s4"):
            text = read_space(name)
            space = text.on(backbone, ceiling)
            table = space.decode(Sampler(space, ceiling).draw(np.random.default_rng(0)))
            laying = milliseconds(lambda t=text, b=backbone, c=ceiling: t.on(b, c), 5)
            seconds = drawing(space, ceiling, options.draws)
            print(
                f"| `{name}` on {model} | {len(space.genes)} | {laying:.1f} | "
                f"{checking(table, space.slots):.2f} | {options.draws:,} | {seconds:.1f} |"
            )
    print()
    for model, backbone in backbones.items():
        few, full, count = all_slots(backbone)
        print(
            f"Over all {count} slots on {model}: {few:.2f} ms for counting and checking LoRA, "
            f"{full:.2f} ms for counting a table with every cell set"
        )


if __name__ == "__main__":
    main()
