"""Random search: the strategy that every other one has to beat."""

import numpy as np

from autopeft.search_spaces.sampling import Sampler
from autopeft.strategies.memory import Memory
from autopeft.strategies.recipes import drawn_rate, with_rates
from autopeft.study import Study
from autopeft.trial import Proposal, Trial

_TRIES = 100


class RandomStrategy:
    """Draws configurations within the budget and a learning rate for every method in them.

    The draw depends on the study's seed and on how many were asked for, and on nothing else.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._sampler = Sampler(study.space, study.ceiling)
        self._memory = Memory()

    def ask(self) -> Proposal | None:
        """Return a proposal not asked before, or None when a hundred draws gave no new one."""
        for attempt in range(_TRIES):
            rng = np.random.default_rng([self._study.seed, self._memory.asked, attempt])
            proposal = self._draw(rng)
            if not self._memory.knows(proposal):
                self._memory.remember(proposal)
                return proposal
        return None

    def tell(self, trial: Trial) -> None:
        """Remember what was proposed; scores make no difference."""
        self._memory.tell(trial)

    def _draw(self, rng: np.random.Generator) -> Proposal:
        study = self._study
        configuration = study.space.decode(self._sampler.draw(rng))
        methods = configuration.methods(study.space.slots)
        rates = {method: drawn_rate(method, rng) for method in methods}
        recipe = with_rates(study.recipe, methods, rates)
        return Proposal(configuration=configuration, recipe=recipe, seed=study.seed)
