"""What a replayed search has cost, and how far its incumbent is from the best of the table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tabled import Table

from autopeft.trial import Trial

USUAL_RATIO = 22.0
"""Training in units of a scoring, where 3,000 texts are learned 3 times and 1,000 are scored."""

Values = NDArray[np.float64]
Kind = Literal["regret", "missed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Where a search stands after a trial: what it has cost, and its regret.

    ``regret`` is that of the true scores. ``missed`` is that of the scores of this seed, which are
    all that a search sees: who finds what looks best there misses nothing, though there is regret.
    """

    trials: int
    training: float
    scoring: float
    regret: float
    missed: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Replication:
    """One search by one contestant. ``outside`` are proposals that the table does not hold."""

    contestant: str
    seed: int
    points: tuple[Point, ...]
    asking: float
    outside: int


def whole(table: Table, stretch: float) -> float:
    """Return what a whole training and its scoring cost on average."""
    return stretch * table.training_seconds + table.scoring_seconds


def stretch_of(table: Table) -> float:
    """Return how many times longer trainings would last at the usual ratio to a scoring."""
    return USUAL_RATIO * table.scoring_seconds / table.training_seconds


def seconds(points: Sequence[Point], stretch: float) -> Values:
    """Return the simulated seconds at each point."""
    return np.array([stretch * point.training + point.scoring for point in points])


class Incumbent:
    """The configuration with the best score seen at the highest share so far."""

    def __init__(self, table: Table, seed: int) -> None:
        self._table, self._seed = table, seed
        self._best = (0.0, -np.inf)
        whole = [table.seen(configuration, seed) for configuration in table.true]
        self._most = max(whole)
        self.regret = table.best - min(table.true.values())  # of nothing: of the worst
        self.missed = self._most - min(whole)

    def saw(self, trial: Trial) -> None:
        if trial.measurement is None:
            return
        found = trial.measurement.share, trial.measurement.score
        if found > self._best:
            self._best = found
            configuration = trial.proposal.configuration
            self.regret = self._table.best - self._table.true[configuration]
            self.missed = self._most - self._table.seen(configuration, self._seed)


def at_trials(done: Replication, grid: Values, what: Kind = "regret") -> Values:
    """Return the regret after each number of trials."""
    return _stepped(np.array([p.trials for p in done.points]), done, grid, what)


def at_seconds(done: Replication, grid: Values, stretch: float, what: Kind = "regret") -> Values:
    """Return the regret after each number of simulated seconds."""
    return _stepped(seconds(done.points, stretch), done, grid, what)


def _stepped(where: Values, done: Replication, grid: Values, what: Kind) -> Values:
    """Return the latest regret at each place."""
    regrets = np.array([getattr(point, what) for point in done.points])
    return regrets[np.searchsorted(where, grid, side="right") - 1]
