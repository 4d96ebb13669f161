"""When every replayed strategy comes to a regret, in the time of whole trainings.

    python benchmarks/soonest.py [--regrets 1.0 0.4 0.15]

Reads the replications that ``replay.py`` has kept. Regret is in points, the mean over replications;
a dash says that it was not reached within sixty trainings.
"""

import argparse

import numpy as np
from regret import at_seconds, stretch_of, whole
from replay import VARIANTS, _table, contestants, read_kept

_MOST = 60.0
_STEP = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--regrets", type=float, nargs="+", default=[1.0, 0.4, 0.2, 0.15])
    regrets = parser.parse_args().regrets
    table = _table()
    grid = np.arange(0.0, _MOST, _STEP)
    for ratio, stretch in (("as measured", 1.0), ("at the usual ratio", stretch_of(table))):
        print(f"\nTrainings' time, {ratio}, to a regret of\n")
        print("| strategy | " + " | ".join(map(str, regrets)) + " |")
        print("| --- |" + " --: |" * len(regrets))
        for name in dict.fromkeys((*contestants(table), *VARIANTS)):
            if done := read_kept(name):
                seconds = grid * whole(table, stretch)
                mean = 100 * np.mean([at_seconds(one, seconds, stretch) for one in done], axis=0)
                reached = [grid[np.argmax(mean <= r)] if (mean <= r).any() else None
                           for r in regrets]  # fmt: skip
                cells = ["-" if found is None else f"{found:.1f}" for found in reached]
                print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
