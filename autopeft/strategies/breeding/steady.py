"""Steady-state breeding from measured trials: one child at a time, of all that is known so far.

There are no generations to wait for, so several workers are never idle, and a child follows from
the set of trials alone. For NSGA-II this form is no worse than the published one (Durillo et al.
2009).
"""

from collections.abc import Callable, Sequence

import numpy as np

from autopeft.search_spaces.sampling import Genome, Sampler
from autopeft.strategies.breeding.operators import Rates, crossed_rates, mutated_rates, rates_for
from autopeft.strategies.breeding.parents import Parent, Parents
from autopeft.strategies.memory import Memory, Point, places
from autopeft.strategies.recipes import with_rates
from autopeft.study import Study
from autopeft.trial import Proposal

Breed = Callable[[Genome, Genome, np.random.Generator], Genome]
Select = Callable[[Sequence[Point], np.random.Generator], tuple[int, int]]
_STARTUP = 10
_TRIES = 100


class SteadyState:
    """Breeds children of measured trials.

    ``select`` chooses the places of two parents by what all trials are worth in each objective;
    ``breed`` makes a genome of theirs. Until ten trials have a score, proposals are drawn, and so
    they are when fifty children in a row were known already.
    """

    def __init__(self, study: Study, *, breed: Breed, select: Select) -> None:
        self._study = study
        self._sampler = Sampler(study.space, study.ceiling)
        self._breed, self._select = breed, select
        self._parents = Parents(study)

    def propose(self, memory: Memory) -> Proposal | None:
        """Return a proposal that the memory does not know, or None when there seems to be none."""
        parents = self._parents.of(memory)
        points = [parent.point for parent in parents]
        for attempt in range(_TRIES):
            rng = np.random.default_rng([self._study.seed, memory.asked, attempt])
            if len(parents) < _STARTUP or attempt >= _TRIES // 2:
                proposal = self._made(self._sampler.draw(rng), {}, rng)
            else:
                one, other = self._select(points, rng)
                proposal = self._child(parents[one], parents[other], rng)
            if not memory.knows(proposal):
                return proposal
        return None

    def _child(self, one: Parent, other: Parent, rng: np.random.Generator) -> Proposal:
        genome = self._sampler.fit(self._breed(one.genome, other.genome, rng), rng)
        rates = mutated_rates(crossed_rates(one.rates, other.rates, rng), rng)
        return self._made(genome, rates, rng)

    def _made(self, genome: Genome, inherited: Rates, rng: np.random.Generator) -> Proposal:
        study = self._study
        configuration = study.space.decode(genome)
        methods = configuration.methods(study.space.slots)
        recipe = with_rates(study.recipe, methods, rates_for(methods, inherited, rng))
        return Proposal(configuration=configuration, recipe=recipe, seed=study.seed)


def best_of(count: int) -> Select:
    """Choose two parents among so many of the best, each the better of two that are drawn.

    Better is who has the lower non-dominated rank, and among equals the higher score.
    """

    def select(points: Sequence[Point], rng: np.random.Generator) -> tuple[int, int]:
        order = places(points)
        best = sorted(range(len(points)), key=lambda i: (order[i], -points[i][0], i))[:count]
        return drawn_pair(best, rng)

    return select


def drawn_pair(best: Sequence[int], rng: np.random.Generator) -> tuple[int, int]:
    """Draw two of a row that begins with the best, each by a tournament of two."""
    one, other = rng.integers(len(best), size=(2, 2)).min(axis=1)
    return best[int(one)], best[int(other)]
