"""A table of trained configurations in place of training: what a replay asks instead of a model.

Rates are fixed in the table, so those of a proposal are ignored, and the same configuration with
other rates scores the same once more and costs as much once more.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from autopeft.backbone import Backbone
from autopeft.budget import Budget
from autopeft.ports import Evaluator
from autopeft.records import from_json
from autopeft.search_spaces.configuration import Configuration
from autopeft.search_spaces.genes import active
from autopeft.search_spaces.space import SearchSpace
from autopeft.search_spaces.written.reading import read_space
from autopeft.study import DataFiles, Study, Task, Where
from autopeft.trial import Measurement, Recipe, Trial

TABLES = Path(__file__).parent / "tables"
USUAL = "brown-tags"
RUNGS = (1 / 9, 1 / 3, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A training of one configuration with one seed, up to a share of its steps.

    ``training`` and ``scoring`` are seconds of the processor: from the first step up to here, and
    of the one scoring here. ``inherited`` is what a supernet of this seed gave the configuration.
    """

    score: float
    loss: float
    parameters: int
    steps: int
    training: float
    scoring: float
    inherited: float | None
    inherited_seconds: float | None


@dataclass
class Spent:
    """Simulated seconds so far, those of training and those of scoring apart."""

    training: float = 0.0
    scoring: float = 0.0

    def now(self) -> float:
        return self.training + self.scoring


@dataclass(frozen=True, kw_only=True)
class Table:
    """All rows, by configuration, seed and place of the rung; ``facts`` are those of its making."""

    rows: dict[tuple[Configuration, int, int], Row]
    seeds: tuple[int, ...]
    facts: dict[str, Any]
    true: dict[Configuration, float] = field(default_factory=dict)

    @classmethod
    def read(cls, name: str = USUAL) -> "Table":
        """Read a table of this folder."""
        if name not in (there := names()):
            raise SystemExit(f"there is no table {name!r}: there are {', '.join(there)}")
        facts = json.loads((TABLES / f"{name}.json").read_text("utf-8"))
        rows = {}
        for line in pq.read_table(TABLES / f"{name}.parquet").to_pylist():
            sizes = Configuration(tuple(map(tuple, json.loads(line["sizes"]))))
            rows[sizes, line["seed"], rung_of(line["share"])] = Row(
                score=line["score"], loss=line["loss"], parameters=line["parameters"],
                steps=line["steps"], training=line["training_seconds"],
                scoring=line["scoring_seconds"], inherited=line.get("inherited"),
                inherited_seconds=line.get("inherited_seconds"),
            )  # fmt: skip
        seeds = tuple(sorted({seed for _, seed, _ in rows}))
        return cls.of(rows, seeds, facts | {"name": name})

    @classmethod
    def of(
        cls, rows: dict[tuple[Configuration, int, int], Row], seeds: tuple[int, ...],
        facts: dict[str, Any],
    ) -> "Table":  # fmt: skip
        """Build a table; what a configuration is truly worth is its mean over the seeds."""
        last = len(RUNGS) - 1
        whole = {c for c, _, rung in rows if rung == last}
        true = {
            c: float(np.mean([rows[c, seed, last].score for seed in seeds]))
            for c in whole
            if all((c, seed, last) in rows for seed in seeds)
        }
        return cls(rows=rows, seeds=seeds, facts=facts, true=true)

    @property
    def best(self) -> float:
        """The score of the best configuration that is there."""
        return max(self.true.values())

    def seen(self, configuration: Configuration, seed: int) -> float:
        """Return what a whole training with one seed scores."""
        return self.rows[configuration, seed, len(RUNGS) - 1].score

    @property
    def training_seconds(self) -> float:
        """What a whole training costs on average, scoring apart."""
        return self._mean("training")

    @property
    def scoring_seconds(self) -> float:
        """What one scoring costs on average."""
        return self._mean("scoring")

    @property
    def has_inherited(self) -> bool:
        """Whether a supernet has scored every configuration."""
        return all(row.inherited is not None for row in self.rows.values())

    def noise_floor(self) -> float:
        """The regret of who tries everything once and takes the best that is seen."""
        last = len(RUNGS) - 1
        found = [max(self.true, key=lambda c: self.rows[c, s, last].score) for s in self.seeds]
        return float(np.mean([self.best - self.true[c] for c in found]))

    def study(self, strategy: str, seed: int, rungs: Sequence[float] = (1.0,)) -> Study:
        """Make the study whose trials are in the table."""
        backbone = from_json(Backbone, self.facts["backbone"])
        budget = Budget.parse(self.facts["budget"])
        return Study(
            task=from_json(Task, self.facts["task"]),
            backbone=backbone,
            space=space_on(backbone, self.facts["name"], budget.ceiling(backbone.parameters)),
            budget=budget,
            strategy=strategy,
            seed=seed,
            recipe=from_json(Recipe, self.facts["recipe"]),
            finals=0,
            where=Where(model="none", data=DataFiles(train="none")),
            rungs=tuple(rungs),
        )

    def _mean(self, what: str) -> float:
        last = len(RUNGS) - 1
        return float(np.mean([getattr(r, what) for (_, _, g), r in self.rows.items() if g == last]))


def names() -> list[str]:
    """Name the tables that are there."""
    return sorted(file.stem for file in TABLES.glob("*.parquet"))


def space_on(backbone: Backbone, name: str, ceiling: int) -> SearchSpace:
    """Lay the space of a table over a backbone, its layer groups as cells that are tied.

    There is one way to divide the blocks, so it decides nothing.
    """
    space = read_space(str(TABLES / f"{name}.yaml")).on(backbone, ceiling)
    (pattern,) = space.patterns
    genes = tuple(
        replace(gene, part=None, cells=tuple(active(gene, pattern))) for gene in space.genes
    )
    return replace(space, genes=genes, patterns=())


def rung_of(share: float) -> int:
    """Return the place of a share among the rungs of the table."""
    for place, rung in enumerate(RUNGS):
        if abs(share - rung) < 1e-3:
            return place
    raise ValueError(f"the table has no share {share}: there are {RUNGS}")


class TableEvaluator:
    """Looks trials up, and counts what they would have cost."""

    def __init__(self, table: Table, seed: int, spent: Spent) -> None:
        self._table = table
        self._seed = seed
        self._spent = spent

    def evaluate(self, trials: Sequence[Trial]) -> Iterator[Trial]:
        """Measure each from the table; a promoted one costs only what is added."""
        for trial in trials:
            share = trial.proposal.fidelity.share
            row = self._row(trial, share)
            if row is None:
                yield trial.failed("the table does not hold this configuration")
                continue
            before = self._row(trial, trial.rungs[-1].share) if trial.rungs else None
            training = row.training - (before.training if before else 0.0)
            self._spent.training += training
            self._spent.scoring += row.scoring
            yield trial.done(
                Measurement(
                    score=row.score,
                    loss=row.loss,
                    parameters=row.parameters,
                    head_parameters=0,
                    steps=row.steps,
                    seconds=training + row.scoring,
                    share=share,
                )
            )

    def _row(self, trial: Trial, share: float) -> Row | None:
        place = trial.proposal.configuration, self._seed, rung_of(share)
        return self._table.rows.get(place)


class TabledScores:
    """Fills ``Inheritance`` from the table: the supernet is paid once, a scoring once each."""

    problem = ""

    def __init__(self, table: Table, seed: int, spent: Spent) -> None:
        self._table = table
        self._seed = seed
        self._spent = spent
        self._paid: set[Configuration] = set()

    def prepare(self) -> Iterator[float]:
        """Pay for the supernet."""
        self._spent.training += self._table.facts["supernet"]["seconds"][str(self._seed)]
        yield 1.0

    def scores(self, configurations: Sequence[Configuration]) -> Iterator[float]:
        """Look each up, and pay for those that were not asked for before."""
        for configuration in configurations:
            row = self._table.rows[configuration, self._seed, len(RUNGS) - 1]
            if row.inherited is None or row.inherited_seconds is None:
                raise ValueError("no supernet has scored this table: run table.py inherited")
            if configuration not in self._paid:
                self._paid.add(configuration)
                self._spent.scoring += row.inherited_seconds
            yield row.inherited


class TabledStructures:
    """Fills ``Structures`` with what a differentiable search found on the table's task."""

    problem = ""

    def __init__(self, table: Table, strategy: str, seed: int, spent: Spent) -> None:
        self._found = table.facts["structures"][strategy][str(seed)]
        self._spent = spent

    def prepare(self) -> Iterator[float]:
        """Pay for the differentiable search."""
        self._spent.training += self._found["seconds"]
        yield 1.0

    def chances(self) -> tuple[tuple[float, ...], ...]:
        """Return for every gene the probability of each of its choices."""
        return tuple(map(tuple, self._found["chances"]))

    def found(self) -> tuple[Configuration, ...]:
        """Return the structures that the search ended with, the best first."""
        return tuple(Configuration(tuple(map(tuple, sizes))) for sizes in self._found["found"])


class Straight:
    """Runs trials one after another; a table never runs out of memory and never dies."""

    def run(
        self, evaluator: Evaluator, trials: Iterator[Trial], *, ahead: int = 1
    ) -> Iterator[Trial]:
        """Pull a trial when the one before has ended."""
        del ahead  # a table answers at once
        for trial in trials:
            yield from evaluator.evaluate((trial,))
