"""Tree-structured Parzen estimators, by Optuna's sampler (Bergstra et al. 2011).

Optuna advises and remembers nothing of ours: its study lives in memory, is filled from the trials
that the strategy is told of, and is asked for one more point. What it suggests over the budget is
shrunk until it fits, and what was measured is what it learns.
"""

from collections.abc import Hashable

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.sampling import draw, shrink
from autopeft.strategies.recipes import drawn_rate, with_rates
from autopeft.study import Study
from autopeft.trial import Proposal, Purpose, Trial

_STARTUP = 6
_MEMORY = 200
_TRIES = 20
_RATE = "learning rate of "


class TpeStrategy:
    """Models good and bad trials apart, over all sizes and learning rates together.

    The proposal depends on the study's seed, on the trials told, and on how many were asked for.
    It remembers the best and the latest trials, a few hundred in all, so that a proposal does not
    become slower with every trial.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        methods = dict.fromkeys(
            study.space.slots[column].method
            for gene in study.space.genes
            for _, column in gene.cells
        )
        self._methods = tuple(methods)
        self._distributions: dict[str, BaseDistribution] = {
            gene.name: IntDistribution(0, len(gene.choices) - 1)
            for gene in study.space.genes
            if len(gene.choices) > 1
        } | {
            _RATE + m: FloatDistribution(METHODS[m].rates.low, METHODS[m].rates.high, log=True)
            for m in methods
        }
        self._known: dict[int, optuna.trial.FrozenTrial] = {}
        self._own: set[Hashable] = set()
        self._all: set[Hashable] = set()

    def ask(self) -> Proposal | None:
        """Return a proposal not asked before, or None when several suggestions gave no new one."""
        for attempt in range(_TRIES):
            seed = [self._study.seed, len(self._own), attempt]
            proposal = self._suggest(np.random.default_rng(seed))
            if proposal.key not in self._all:
                self._remember(proposal)
                return proposal
        return None

    def tell(self, trial: Trial) -> None:
        """Learn from a trial that has ended; remember that one which waits was proposed."""
        self._remember(trial.proposal)
        if not trial.ended or trial.proposal.purpose is Purpose.FINAL:
            return
        genome = self._study.space.encode(trial.proposal.configuration)
        if genome is None:  # a baseline outside the space
            return
        rng = np.random.default_rng([self._study.seed, trial.number])
        params: dict[str, int | float] = {
            gene.name: choice
            for gene, choice in zip(self._study.space.genes, genome, strict=True)
            if gene.name in self._distributions
        }
        for method in self._methods:  # the rate of an absent method made no difference: any will do
            rates = trial.proposal.recipe.learning_rates
            params[_RATE + method] = rates.get(method) or drawn_rate(method, rng)
        self._known[trial.number] = create_trial(
            state=TrialState.COMPLETE if trial.measurement else TrialState.PRUNED,
            value=trial.score if trial.measurement else None,
            params=params,
            distributions=self._distributions,
        )

    def _suggest(self, rng: np.random.Generator) -> Proposal:
        study = self._study
        params = self._advised(int(rng.integers(2**31)))
        genome = [int(params.get(gene.name, 0)) for gene in study.space.genes]
        fitted = study.space.decode(shrink(study.space, genome, study.ceiling, rng))
        if fitted.empty:  # under a tight ceiling most suggestions shrink to nothing
            fitted = study.space.decode(draw(study.space, study.ceiling, rng))
        methods = fitted.methods(study.space.slots)
        rates = {method: float(params[_RATE + method]) for method in methods}
        recipe = with_rates(study.recipe, methods, rates)
        return Proposal(configuration=fitted, recipe=recipe, seed=study.seed)

    def _advised(self, seed: int) -> dict[str, float]:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP)
        advice = optuna.create_study(direction="maximize", sampler=sampler)
        advice.add_trials(self._remembered())
        return dict(advice.ask(self._distributions).params)

    def _remembered(self) -> list[optuna.trial.FrozenTrial]:
        numbers = sorted(self._known)  # workers end trials in any order, which must not matter
        if len(numbers) <= 2 * _MEMORY:
            return [self._known[number] for number in numbers]
        best = sorted(numbers, key=lambda n: -_value(self._known[n]))
        kept = set(numbers[-_MEMORY:]) | set(best[:_MEMORY])
        return [self._known[number] for number in sorted(kept)]

    def _remember(self, proposal: Proposal) -> None:
        self._all.add(proposal.key)
        if proposal.purpose is Purpose.SEARCH:
            self._own.add(proposal.key)


def _value(trial: optuna.trial.FrozenTrial) -> float:
    return -np.inf if trial.value is None else trial.value
