"""Replay strategies on the table benchmark: regret against trials and simulated seconds.

    python benchmarks/replay.py [CONTESTANT ...]    all of them, or only these anew
    python benchmarks/replay.py --seeds 5 random tpe
    python benchmarks/replay.py --table noun-classes --seeds 20 random tpe

A contestant is a strategy's name, with ``+rungs`` if its worse trials stop early at 1/9 and 1/3 of
a training, with ``+third`` if they do at 1/3 alone, with ``-rungs`` if none does; without any of
them it is as the tool has it by default. The real loop runs it on a table of trained configurations
(``table.py``), so that a replication takes seconds and not an hour. The baselines that the tool
tries beside every strategy are left out: they fill the whole budget, which no configuration of the
table does.

Regret: the best mean score over seeds in the table less that of the incumbent, which is the
configuration with the best score seen at the highest share so far. Replications draw the table's
seed; contestants of one replication share it, which pairs them. A proposal's own time is not in
the simulated seconds, but in a column of its own.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import materials
import numpy as np
from regret import Incumbent, Point, Replication, seconds, stretch_of, whole
from tabled import (
    RUNGS,
    TABLES,
    USUAL,
    Spent,
    Straight,
    Table,
    TabledScores,
    TabledStructures,
    TableEvaluator,
)

from autopeft.ports import Strategy
from autopeft.process import prepare
from autopeft.search import search
from autopeft.storage.memory import MemoryStore
from autopeft.study import Limits, Study
from autopeft.trial import Trial
from autopeft.wiring import aims
from autopeft.wiring.strategies import STRATEGIES, entry_of

TRIALS = 30
SEEDS = 50
VARIANTS = ("random+rungs", "random+third", "tpe+third", "autopeft+rungs", "autopeft-rungs")
_RUNGS = {"+rungs": RUNGS, "+third": RUNGS[1:], "-rungs": RUNGS[2:]}
_MOST_TRIALS = 150
_SLOW = {"saasbo": 10}
_FOLDER = Path(__file__).parents[1] / "docs" / "figures"


def contestants(table: Table) -> list[str]:
    """Name who can be replayed on a table: an inherited score is needed by some."""
    names = []
    for name, entry in STRATEGIES.items():
        if entry.needs == "inheritance" and not table.has_inherited:
            continue
        if entry.needs == "structures" and name not in table.facts.get("structures", {}):
            continue
        names.append(name)
    variants = [name for name in VARIANTS if strategy_of(name) in names]
    return [*names, *variants]


def rungs_of(contestant: str, table: Table) -> tuple[float, ...]:
    """Return where a contestant's trials pause."""
    strategy = strategy_of(contestant)
    if contestant == strategy:
        return aims.rungs_of(None, strategy, max(row.steps for row in table.rows.values()))
    return _RUNGS[contestant.removeprefix(strategy)]


def strategy_of(contestant: str) -> str:
    """Return the name of a contestant's strategy."""
    return next(contestant.removesuffix(v) for v in (*_RUNGS, "") if contestant.endswith(v))


def replay(table: Table, contestant: str, seed: int, trials: int = TRIALS) -> Replication:
    """Search once: as many trials, and as many simulated seconds as they usually take."""
    study = table.study(strategy_of(contestant), seed, rungs_of(contestant, table))
    drawn = int(np.random.default_rng([seed, 7]).choice(table.seeds))
    spent = Spent()
    strategy = _Timed(_bare(study, table, drawn, spent))
    store = MemoryStore()
    store.add_study(study)
    running = search(
        study, Limits(trials=_MOST_TRIALS), strategy=strategy, executor=Straight(), store=store,
        evaluator=TableEvaluator(table, drawn, spent), clock=spent.now,
    )  # fmt: skip
    seen, outside = Incumbent(table, drawn), 0
    points = [Point(trials=0, training=0.0, scoring=0.0, regret=seen.regret, missed=seen.missed)]
    for trial in running:
        if not trial.ended:
            continue
        seen.saw(trial)
        outside += trial.measurement is None
        asked = max(points[-1].trials, trial.number + 1)
        point = Point(
            trials=asked, training=spent.training, scoring=spent.scoring, regret=seen.regret,
            missed=seen.missed,
        )  # fmt: skip
        points.append(point)
        if asked >= trials and _is_past(points[-1], table, trials):
            break
    running.close()
    return Replication(
        contestant=contestant, seed=seed, points=tuple(points), asking=strategy.seconds,
        outside=outside,
    )  # fmt: skip


def _is_past(point: Point, table: Table, trials: int) -> bool:
    """Whether the time of so many whole trainings is over, on either scale."""
    return all(
        seconds([point], stretch)[0] >= trials * whole(table, stretch)
        for stretch in (1.0, stretch_of(table))
    )


def _bare(study: Study, table: Table, seed: int, spent: Spent) -> Strategy:
    """Build a strategy without the baselines around it, and pay for what it needs beforehand."""
    entry = entry_of(study.strategy)
    build: Any = getattr(import_module(f"autopeft.strategies.{entry.module}"), entry.name)
    shared: TabledScores | TabledStructures
    match entry.needs:
        case "inheritance":
            shared = TabledScores(table, seed, spent)
        case "structures":
            shared = TabledStructures(table, study.strategy, seed, spent)
        case _:
            return cast("Strategy", build(study))
    for _ in shared.prepare():
        pass
    return cast("Strategy", build(study, shared))


class _Timed:
    """Wraps a strategy and counts the processor's seconds in it."""

    def __init__(self, inner: Strategy) -> None:
        self._inner = inner
        self.seconds = 0.0

    def ask(self) -> Any:
        began = time.process_time()
        proposal = self._inner.ask()
        self.seconds += time.process_time() - began
        return proposal

    def tell(self, trial: Trial) -> None:
        began = time.process_time()
        self._inner.tell(trial)
        self.seconds += time.process_time() - began


@cache
def _table(name: str) -> Table:
    return Table.read(name)


def _one(job: tuple[str, str, int]) -> Replication:
    prepare()
    table, contestant, seed = job
    return replay(_table(table), contestant, seed)


def replications(
    names: Sequence[str], seeds: int, workers: int, table: str = USUAL
) -> Iterator[Replication]:
    """Replay each contestant on a table with each seed, in several processes."""
    jobs = [
        (table, n, seed)
        for n in names
        for seed in range(min(seeds, _SLOW.get(strategy_of(n), seeds)))
    ]
    if workers == 1:
        yield from map(_one, jobs)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(_one, jobs)


def stem_of(table: str) -> str:
    """Return what the files of a table's replay are called."""
    return "replay" if table == USUAL else f"replay-{table}"


def kept(table: str) -> Path:
    """Name the folder of what was replayed on a table."""
    folder = materials.cache() / stem_of(table)
    folder.mkdir(exist_ok=True)
    return folder


def keep(table: str, done: Sequence[Replication]) -> None:
    """Keep all replications of a contestant in place of earlier ones."""
    text = json.dumps([asdict(replication) for replication in done])
    (kept(table) / f"{done[0].contestant}.json").write_text(text, encoding="utf-8")


def read_kept(table: str, name: str) -> list[Replication]:
    """Read what was replayed of a contestant on a table."""
    file = kept(table) / f"{name}.json"
    found = json.loads(file.read_text("utf-8")) if file.exists() else []
    return [Replication(**r | {"points": tuple(Point(**p) for p in r["points"])}) for r in found]


def main() -> None:
    """Replay, print the table, and write the figures."""
    parser = argparse.ArgumentParser(description="Replay strategies on the table benchmark.")
    parser.add_argument("contestants", nargs="*")
    parser.add_argument("--table", default=USUAL)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    table, stem = Table.read(given.table), stem_of(given.table)
    known = contestants(table)
    for name in given.contestants or [n for n in known if not read_kept(given.table, n)]:
        if name not in known:
            raise SystemExit(f"{name!r} cannot be replayed: there are {', '.join(known)}")
        began = time.monotonic()
        keep(given.table, list(replications([name], given.seeds, given.workers, given.table)))
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)

    from curves import draw, markdown, properties, summary

    everything = {name: done for name in known if (done := read_kept(given.table, name))}
    found = summary(table, everything) | {"properties": properties(table)}
    text = json.dumps(found, indent=1) + "\n"
    (TABLES / f"{stem}.json").write_text(text, encoding="utf-8")
    _FOLDER.mkdir(exist_ok=True)
    draw(table, everything, _FOLDER / f"{stem}.svg")
    (TABLES / f"{stem}.md").write_text(markdown(found), encoding="utf-8")
    print(markdown(found))


if __name__ == "__main__":
    main()
