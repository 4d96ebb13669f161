"""Proposals from structures that a differentiable search has found."""

from collections.abc import Hashable, Iterator
from itertools import chain
from math import exp, log
from statistics import fmean

import numpy as np

from autopeft.ports import Structures
from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.configuration import Configuration
from autopeft.search_spaces.sampling import Sampler
from autopeft.strategies.memory import best_score, has_score
from autopeft.strategies.recipes import with_rates
from autopeft.study import Study
from autopeft.supernet.gating.structures import Filling, equal_chances
from autopeft.trial import Proposal, Purpose, Trial

_FACTORS = (1.0, 3.0, 1 / 3)
_SPREAD = 0.7  # of the logarithm: most factors lie between a half and twice
_AGAIN = 0.25
_TRIES = 100


class Structured:
    """Proposes found structures, at their usual rates first, then others that are likely.

    Each found structure is tried at its default rates, at three times and at a third of them. After
    that most proposals are structures drawn by the chances of their cells and filled up to the
    budget, the others the best trial so far once more; both at rates near the best so far. Without
    ``chances`` everything is drawn by chance. What is proposed depends on the study's seed, on the
    trials told and on how many were asked for.
    """

    def __init__(self, study: Study, structures: Structures, *, by_chance: bool) -> None:
        self._study = study
        self._structures = structures
        self._by_chance = by_chance
        self._sampler = Sampler(study.space, study.ceiling)
        self._filling = Filling(study.space, study.ceiling)
        self._own: set[Hashable] = set()
        self._all: set[Hashable] = set()
        self._learned: dict[int, Trial] = {}
        self._prepared = False

    def ask(self) -> Proposal | None:
        """Return a proposal not asked before, or None when a hundred draws gave no new one."""
        self._prepare()
        for proposal in chain(self._planned(), self._draws()):
            if proposal.key not in self._all:
                self._remember(proposal)
                return proposal
        return None

    def tell(self, trial: Trial) -> None:
        """Learn from a trial of ours; remember what was proposed otherwise."""
        self._remember(trial.proposal)
        if trial.proposal.purpose is not Purpose.SEARCH:
            return
        self._learned.pop(trial.number, None)
        if has_score(trial):
            self._learned[trial.number] = trial

    def _prepare(self) -> None:
        if not self._prepared:
            for _ in () if self._by_chance else self._structures.prepare():
                pass  # whoever wants to see the progress has prepared before
            self._prepared = True

    def _planned(self) -> Iterator[Proposal]:
        if not self._by_chance:
            for structure in self._structures.found():
                for factor in _FACTORS:
                    yield self._proposal(structure, factor)

    def _draws(self) -> Iterator[Proposal]:
        for attempt in range(_TRIES):
            rng = np.random.default_rng([self._study.seed, len(self._own), attempt])
            best = self._best()
            again = rng.random() < _AGAIN
            structure = best.configuration if best and again else self._draw(rng)
            near = exp(_SPREAD * float(rng.standard_normal()))
            yield self._proposal(structure, near * (_factor(best) if best else 1.0))

    def _draw(self, rng: np.random.Generator) -> Configuration:
        space = self._study.space
        chances = equal_chances(space) if self._by_chance else self._structures.chances()
        genome = self._filling.drawn(chances, rng)
        return space.decode(self._sampler.fit(genome, rng))

    def _best(self) -> Proposal | None:
        found = best_score(self._study, list(self._learned.values()))
        return found.proposal if found else None

    def _proposal(self, structure: Configuration, factor: float) -> Proposal:
        methods = structure.methods(self._study.space.slots)
        rates = {}
        for method in methods:
            known = METHODS[method].rates
            rates[method] = min(known.high, max(known.low, known.default * factor))
        recipe = with_rates(self._study.recipe, methods, rates)
        return Proposal(configuration=structure, recipe=recipe, seed=self._study.seed)

    def _remember(self, proposal: Proposal) -> None:
        self._all.add(proposal.key)
        if proposal.purpose is Purpose.SEARCH:
            self._own.add(proposal.key)


def _factor(proposal: Proposal) -> float:
    """Return how far its rates are from the default ones, on average."""
    rates = proposal.recipe.learning_rates.items()
    return exp(fmean(log(rate / METHODS[method].rates.default) for method, rate in rates))
