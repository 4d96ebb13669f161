"""Tree-structured Parzen estimators, by Optuna's sampler (Bergstra et al. 2011).

Optuna advises and remembers nothing of ours: its study lives in memory, is filled from the trials
that the strategy is told of, and is asked for one more point. What it suggests over the budget is
shrunk until it fits, and what was measured is what it learns.
"""

from collections.abc import Hashable

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.sampling import Sampler
from autopeft.strategies.recipes import drawn_rate, with_rates
from autopeft.study import Study
from autopeft.trial import Proposal, Purpose, Trial

_STARTUP = 6
_MOST = 96
_TRIES = 20
_RATE = "learning rate of "


class TpeStrategy:
    """Models good and bad trials apart, over all sizes and learning rates together.

    The proposal depends on the study's seed, on the trials told, and on how many were asked for.
    It learns from the best and the latest trials, so that a proposal does not become slower with
    every trial.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._sampler = Sampler(study.space, study.ceiling)
        self._methods = study.space.methods
        self._distributions: dict[str, BaseDistribution] = {
            gene.name: IntDistribution(0, len(gene.choices) - 1)
            for gene in study.space.genes
            if len(gene.choices) > 1
        } | {
            _RATE + m: FloatDistribution(METHODS[m].rates.low, METHODS[m].rates.high, log=True)
            for m in self._methods
        }
        self._advisor = _Advisor(self._distributions)
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
        space, configuration = self._study.space, trial.proposal.configuration
        # A baseline's sizes need not be choices of the space: it teaches about its nearest point.
        genome = space.encode(configuration) or space.nearest(configuration)
        if genome is None:
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
        learned = create_trial(
            state=TrialState.COMPLETE if trial.measurement else TrialState.PRUNED,
            value=trial.score if trial.measurement else None,
            params=params,
            distributions=self._distributions,
        )
        self._advisor.learn(trial.number, learned)

    def _suggest(self, rng: np.random.Generator) -> Proposal:
        study = self._study
        params = self._advisor.advise(int(rng.integers(2**31)))
        genome = [int(params.get(gene.name, 0)) for gene in study.space.genes]
        fitted = study.space.decode(self._sampler.fit(genome, rng))
        methods = fitted.methods(study.space.slots)
        rates = {method: float(params[_RATE + method]) for method in methods}
        recipe = with_rates(study.recipe, methods, rates)
        return Proposal(configuration=fitted, recipe=recipe, seed=study.seed)

    def _remember(self, proposal: Proposal) -> None:
        self._all.add(proposal.key)
        if proposal.purpose is Purpose.SEARCH:
            self._own.add(proposal.key)


class _Advisor:
    """An Optuna study that holds the best and the latest trials, and never very many.

    Optuna's time for a proposal grows with the trials it knows and with the dimensions of the
    space; adding trials costs as much again. So trials are added one by one, and when there are
    too many, a new study begins with the better half and the later half of them. What it holds
    depends on the trials alone, not on the moments at which it was asked.
    """

    def __init__(self, distributions: dict[str, BaseDistribution]) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._distributions = distributions
        self._known: dict[int, FrozenTrial] = {}
        self._begin()

    def learn(self, number: int, trial: FrozenTrial) -> None:
        """Take a trial in; trials that end out of turn are put in their place."""
        if number in self._known:
            return
        in_turn = number > max(self._known, default=-1)
        self._known[number] = trial
        if len(self._known) <= _MOST and in_turn:
            self._study.add_trial(trial)
            return
        if len(self._known) > _MOST:
            numbers = sorted(self._known)
            best = sorted(numbers, key=lambda n: -_value(self._known[n]))
            kept = set(numbers[-_MOST // 4 :]) | set(best[: _MOST // 4])
            self._known = {number: self._known[number] for number in kept}
        self._begin()

    def advise(self, seed: int) -> dict[str, float]:
        """Return one more point."""
        self._study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP)
        advised = self._study.ask(self._distributions)
        self._study.tell(advised, state=TrialState.FAIL)  # forgotten: what counts is what is told
        return dict(advised.params)

    def _begin(self) -> None:
        self._study = optuna.create_study(direction="maximize")
        self._study.add_trials([self._known[number] for number in sorted(self._known)])


def _value(trial: FrozenTrial) -> float:
    return -np.inf if trial.value is None else trial.value
