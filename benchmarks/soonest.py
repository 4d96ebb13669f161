"""When every replayed strategy comes to a regret, in the time of whole trainings.

    python benchmarks/soonest.py [--regrets 1.0 0.4 0.15]
    python benchmarks/soonest.py --seen     by the scores of the seed that was searched with
    python benchmarks/soonest.py --table noun-classes

Reads the replications that ``replay.py`` has kept. Regret is in points, the mean over replications;
a dash says that it was not reached within sixty trainings. Below the regret of who tries everything
once differences in it are luck: ``--seen`` asks instead how far what was found is from what looks
best with the same seed, and prints it with 95% intervals after equal trials and equal time too.
"""

import argparse
from collections.abc import Sequence

import numpy as np
from curves import compared
from regret import Kind, at_seconds, at_trials, stretch_of, whole
from replay import VARIANTS, contestants, read_kept
from tabled import USUAL, Table

_MOST = 60.0
_STEP = 0.1
_PLACES = (5, 10, 20, 30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", default=USUAL)
    parser.add_argument("--regrets", type=float, nargs="+", default=[1.0, 0.4, 0.2, 0.15])
    parser.add_argument("--seen", action="store_true")
    given = parser.parse_args()
    table = Table.read(given.table)
    what: Kind = "missed" if given.seen else "regret"
    known = {name: done for name in dict.fromkeys((*contestants(table), *VARIANTS))
             if (done := read_kept(given.table, name))}  # fmt: skip
    stretches = (("as measured", 1.0), ("at the usual ratio", stretch_of(table)))
    for ratio, stretch in stretches:
        header(f"Trainings' time, {ratio}, to a regret of", given.regrets)
        grid = np.arange(0.0, _MOST, _STEP)
        for name, done in known.items():
            seconds = grid * whole(table, stretch)
            mean = 100 * np.mean([at_seconds(one, seconds, stretch, what) for one in done], axis=0)
            reached = [grid[np.argmax(mean <= r)] if (mean <= r).any() else None
                       for r in given.regrets]  # fmt: skip
            row(name, ["-" if found is None else f"{found:.1f}" for found in reached])
    if not given.seen:
        return
    places = np.array(_PLACES, dtype=np.float64)
    header("After so many trials", _PLACES)
    for name, done in known.items():
        row(name, cells([at_trials(one, places, what) for one in done]))
    for ratio, stretch in stretches:
        header(f"After the time of so many trainings, {ratio}", _PLACES)
        grid = places * whole(table, stretch)
        for name, done in known.items():
            row(name, cells([at_seconds(one, grid, stretch, what) for one in done]))


def header(title: str, columns: Sequence[float]) -> None:
    print(f"\n{title}\n")
    row("strategy", list(map(str, columns)))
    row("---", ["--:"] * len(columns))


def cells(found: list[np.ndarray]) -> list[str]:
    values = [compared(100 * column) for column in np.array(found).T]
    return [f"{v['mean']:.2f} ({v['low']:.2f} to {v['high']:.2f})" for v in values]


def row(name: str, texts: list[str]) -> None:
    print(f"| {name} | " + " | ".join(texts) + " |")


if __name__ == "__main__":
    main()
