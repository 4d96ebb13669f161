"""How long a search space takes: counting and checking one configuration, and drawing many.

python benchmarks/spaces.py
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from autopeft.search_spaces.catalog import slots_of
from autopeft.search_spaces.checking import faults
from autopeft.search_spaces.sampling import Sampler
from autopeft.search_spaces.space import SearchSpace
from autopeft.search_spaces.written.named import named_configuration
from autopeft.search_spaces.written.reading import read_space
from tests.builders import BERT_BASE, MINI_LM

ROUNDS = 200


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=10_000)
    options = parser.parse_args()
    print("| space | genes | laying, ms | counting and checking, ms | draws | CPU s |")
    print("| --- | --: | --: | --: | --: | --: |")
    for backbone in (MINI_LM, BERT_BASE):
        ceiling = backbone.parameters // 100
        for name in ("unified", "lora", "autopeft", "noah", "s3pet", "s4"):
            text = read_space(name)
            space = text.on(backbone, ceiling)
            table = space.decode(Sampler(space, ceiling).draw(np.random.default_rng(0)))
            laying = milliseconds(lambda t=text, b=backbone, c=ceiling: t.on(b, c), 5)
            checking = milliseconds(
                lambda s=space, t=table: (t.parameters(s.slots), next(faults(t, s.slots), None))
            )
            seconds = drawing(space, ceiling, options.draws)
            print(
                f"| `{name}` on {backbone.name} | {len(space.genes)} | {laying:.1f} | "
                f"{checking:.2f} | {options.draws:,} | {seconds:.1f} |"
            )
    slots = slots_of(BERT_BASE)
    table = named_configuration("lora-r8-qv").on(BERT_BASE, slots, None)
    checking = milliseconds(lambda: (table.parameters(slots), next(faults(table, slots), None)))
    print(f"\nOver all {len(slots)} slots of the catalog: {checking:.2f} ms")


if __name__ == "__main__":
    main()
