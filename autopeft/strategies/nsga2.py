"""NSGA-II (Deb et al. 2002): genetic search for a Pareto front, in its steady-state form.

Survivors are the best of all measured trials by non-dominated rank, and of equal rank the ones that
stand farthest from their neighbours; binary tournaments among them choose parents. Nothing is over
the budget, so there are no constraints to handle.

Optuna's NSGAIISampler is not used: a trial's generation is decided when it is asked for, and kept
in Optuna's own store, so that a study filled from outside would have to imitate it; and children
would be points of a grid, most of them over the budget.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autopeft.objectives import front
from autopeft.search_spaces.sampling import Genome
from autopeft.strategies.breeding.operators import crossed, mutated
from autopeft.strategies.breeding.steady import SteadyState, drawn_pair
from autopeft.strategies.memory import Memory, Point, places
from autopeft.study import Study
from autopeft.trial import Proposal, Trial

_FEWEST, _MOST = 6, 20
_CROSSOVER = 0.5
_STEPS = 0.7


class Nsga2Strategy:
    """Breeds children of the trials that no other beats, spread along the front."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._memory = Memory()
        self._steady = SteadyState(study, breed=self._breed, select=tournament)

    def ask(self) -> Proposal | None:
        """Return a proposal not asked before, or None when no new one was found."""
        proposal = self._steady.propose(self._memory)
        if proposal:
            self._memory.remember(proposal)
        return proposal

    def tell(self, trial: Trial) -> None:
        """Remember what was proposed, and what was measured."""
        self._memory.tell(trial)

    def _breed(self, one: Genome, other: Genome, rng: np.random.Generator) -> Genome:
        """Cross every other time, then change one gene on average, mostly by a step.

        Deb et al. mutate as much, and closely by as a rule (their polynomial mutation).
        """
        space = self._study.space
        child = crossed(space, one, other, rng) if rng.random() < _CROSSOVER else one
        each = 1 / max(1, len(space.genes))
        return mutated(space, child, rng, sizes=each, frames=each, steps=_STEPS)


def tournament(points: Sequence[Point], rng: np.random.Generator) -> tuple[int, int]:
    """Choose two parents among the survivors: each is the better of two drawn ones.

    As many survive as the front has points, but six at least and twenty at most: a study has dozens
    of trials, where the published populations are of a hundred.
    """
    count = len(front(points)) if len(points[0]) > 1 else 1
    best = survivors(points)[: max(_FEWEST, min(_MOST, count))]
    return drawn_pair(best, rng)


def survivors(points: Sequence[Point]) -> list[int]:
    """Put the places of points in order: by rank, among equals the least crowded first."""
    order, distances = np.asarray(places(points)), np.zeros(len(points))
    for place in np.unique(order) if len(points[0]) > 1 else ():
        members = np.flatnonzero(order == place)
        distances[members] = crowding(np.asarray(points)[members])
    return sorted(range(len(points)), key=lambda i: (order[i], -distances[i], i))


def crowding(points_NK: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each point's distance to its neighbours in every objective, the ends infinite."""
    found = np.zeros(len(points_NK))
    for column in points_NK.T:
        order = np.argsort(column, kind="stable")
        spread = column[order[-1]] - column[order[0]]
        found[order[[0, -1]]] = np.inf
        if spread > 0 and len(order) > 2:
            found[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / spread
    return found
