"""How long each strategy takes to propose a configuration, without storing or training one.

    python benchmarks/proposals.py --told 200 --space unified

Tells a strategy of random trials on MiniLM at 1% of its parameters, with a score that depends on
their tables and rates, then asks it. The first proposal, with what is imported for it, is apart.
"""

import argparse
import math
import statistics
import time
import zlib
from collections.abc import Iterator, Sequence
from importlib import import_module

from spaces import shape

from autopeft.budget import Budget
from autopeft.ports import Strategy
from autopeft.search_spaces.configuration import Configuration
from autopeft.search_spaces.written.reading import read_space
from autopeft.strategies.random import RandomStrategy
from autopeft.study import Columns, DataFiles, Objective, Study, Task, Where
from autopeft.trial import Measurement, Recipe, Trial
from autopeft.wiring.strategies import STRATEGIES, entry_of

OBJECTIVES: dict[str, tuple[Objective, ...]] = {
    "score": ("score",),
    "score, params": ("score", "params"),
}


class Inherited:
    """Scores configurations at once, as shared weights that are trained would."""

    problem = ""

    def prepare(self) -> Iterator[float]:
        yield 1.0

    def scores(self, configurations: Sequence[Configuration]) -> Iterator[float]:
        return map(worth, configurations)


def worth(configuration: Configuration) -> float:
    """Return a score that grows with the sizes and has some noise, the same at each call."""
    sizes = [size for row in configuration.sizes for size in row]
    noise = zlib.crc32(repr(sizes).encode()) / 2**32
    return sum(math.sin(i) * math.log2(1 + size) for i, size in enumerate(sizes)) / 50 + noise / 10


def measured(trial: Trial, study: Study) -> Trial:
    """End a trial in no time."""
    configuration = trial.proposal.configuration
    off = sum(abs(math.log10(r / 2e-3)) for r in trial.proposal.recipe.learning_rates.values())
    return trial.done(
        Measurement(
            score=worth(configuration) - off / 10,
            loss=1.0,
            parameters=configuration.parameters(study.space.slots),
            head_parameters=1,
            steps=1,
            seconds=1.0,
        )
    )


def a_study(space: str, objectives: tuple[Objective, ...]) -> Study:
    """Build a study that no data is needed for."""
    backbone, budget = shape("MiniLM"), Budget.parse("1%")
    task = Task(
        kind="classification", metric="accuracy", columns=Columns(text="text", label="label"),
        labels=("no", "yes"), head="mean", max_length=128, digest="0" * 64, split_seed=0,
        examples=(1, 1, 1),
    )  # fmt: skip
    return Study(
        task=task, backbone=backbone, budget=budget, strategy="", seed=0, recipe=Recipe(),
        space=read_space(space).on(backbone, budget.ceiling(backbone.parameters)), finals=0,
        where=Where(model="", data=DataFiles(train="")), objectives=objectives,
    )  # fmt: skip


def built(name: str, study: Study) -> Strategy:
    entry = entry_of(name)
    build = getattr(import_module(f"autopeft.strategies.{entry.module}"), entry.name)
    strategy: Strategy = build(study) if entry.needs == "nothing" else build(study, Inherited())
    return strategy


def seconds(strategy: Strategy, known: Sequence[Trial], study: Study, count: int) -> list[float]:
    """Return the seconds of so many proposals, each told of before the next."""
    for trial in known:
        strategy.tell(trial)
    times = []
    for number in range(len(known), len(known) + count):
        began = time.perf_counter()
        proposal = strategy.ask()
        times.append(time.perf_counter() - began)
        if proposal is None:
            break
        strategy.tell(measured(Trial(number=number, proposal=proposal).started(), study))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    usual = [name for name, entry in STRATEGIES.items() if entry.needs != "structures"]
    parser.add_argument("--told", type=int, default=200)
    parser.add_argument("--asked", type=int, default=12)
    parser.add_argument("--space", default="unified")
    parser.add_argument("--strategies", nargs="+", default=usual, choices=usual)
    options = parser.parse_args()
    print(
        f"| strategy | objectives | first, s | ms a proposal after {options.told}, median | most |"
    )
    print("| --- | --- | --: | --: | --: |")
    for objectives, names in OBJECTIVES.items():
        study = a_study(options.space, names)
        random = RandomStrategy(study)
        known = []
        while len(known) < options.told and (proposal := random.ask()):
            known.append(measured(Trial(number=len(known), proposal=proposal).started(), study))
        for name in options.strategies:
            first, *rest = seconds(built(name, study), known, study, options.asked)
            middle, most = 1e3 * statistics.median(rest), 1e3 * max(rest)
            row = f"| {name} | {objectives} | {first:.2f} | {middle:.1f} | {most:.1f} |"
            print(row, flush=True)


if __name__ == "__main__":
    main()
