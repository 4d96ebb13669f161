"""Tree-structured Parzen estimators, by Optuna's sampler (Bergstra et al. 2011).

Optuna advises and remembers nothing of ours: its study lives in memory, is filled from the trials
that the strategy is told of, and is asked for one more point. What it suggests over the budget is
shrunk until it fits, and what was measured is what it learns.

With one objective a trial that pauses is to Optuna a pruned one, with its score as the value in
between: it is worse than any that was trained longer, and compared with those that were trained as
long. With several objectives Optuna cannot compare pruned trials; there they count as if they had
been trained to the end (see ``lifted``).
"""

import math
from collections.abc import Sequence

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from autopeft.search_spaces.sampling import Sampler
from autopeft.strategies.breeding.operators import genome_of
from autopeft.strategies.memory import Memory, Point, best_and_latest, has_score, lifted, places
from autopeft.strategies.modelling.parzen import Parzen
from autopeft.strategies.modelling.points import Coordinates, Points
from autopeft.strategies.recipes import drawn_rate, with_rates
from autopeft.study import Study
from autopeft.trial import Proposal, Trial

_STARTUP = 6
_MOST = 96
_TRIES = 20
_STEPS = 10_000


class TpeStrategy:
    """Models good and bad trials apart, over all sizes and learning rates together.

    The proposal depends on the study's seed, on the trials told, and on how many were asked for.
    It learns from the best and the latest trials, so that a proposal does not become slower with
    every trial.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._points = Points(study.space)
        self._sampler = Sampler(study.space, study.ceiling)
        self._memory = Memory()
        self._places: dict[int, Coordinates | None] = {}
        self._seen: dict[int, tuple[float, Point | None, FrozenTrial]] = {}
        self._advisor = _Advisor(self._points, len(study.objectives))

    def ask(self) -> Proposal | None:
        """Return a proposal not asked before, or None when several suggestions gave no new one."""
        learned = self._learned()
        for attempt in range(_TRIES):
            seed = [self._study.seed, self._memory.asked, attempt]
            proposal = self._suggest(learned, np.random.default_rng(seed))
            if not self._memory.knows(proposal):
                self._memory.remember(proposal)
                return proposal
        return None

    def tell(self, trial: Trial) -> None:
        """Learn from a trial that was measured; remember that one which waits was proposed."""
        self._memory.tell(trial)

    def _learned(self) -> list[FrozenTrial]:
        """Translate the best and the latest trials."""
        ended = [trial for trial in self._memory.ended if self._place(trial)]
        points: dict[int, Point] = {}
        if ended:
            measured = [trial for trial in ended if has_score(trial)]
            numbers = [trial.number for trial in measured]
            points = dict(zip(numbers, lifted(self._study, measured), strict=True))

        def place(trials: Sequence[Trial]) -> list[float]:
            inside = [trial.number for trial in trials if trial.number in points]
            found = dict(zip(inside, places([points[n] for n in inside]), strict=True))
            return [found.get(trial.number, math.inf) for trial in trials]

        kept = best_and_latest(ended, place, _MOST)
        return [self._translated(trial, points.get(trial.number)) for trial in kept]

    def _translated(self, trial: Trial, point: Point | None) -> FrozenTrial:
        """Return the same object while nothing has changed: the advisor goes by that."""
        share, alone = trial.latest.share if trial.latest else 0.0, len(self._study.objectives) == 1
        if alone and point and trial.latest:
            point = (trial.latest.score,)
        known = self._seen.get(trial.number)
        if known is None or known[:2] != (share, point):
            pauses = alone and share < 1.0
            found = create_trial(
                state=TrialState.COMPLETE if point and not pauses else TrialState.PRUNED,
                values=point if point and not pauses else None,
                intermediate_values={int(share * _STEPS): point[0]} if point and pauses else {},
                params=self._place(trial),
                distributions=self._points.distributions,
            )
            known = self._seen[trial.number] = share, point, found
        return known[2]

    def _place(self, trial: Trial) -> Coordinates | None:
        """Find where a trial lies; a baseline's sizes need not be choices of the space."""
        if trial.number not in self._places:
            genome = genome_of(self._study.space, trial.proposal.configuration)
            rng = np.random.default_rng([self._study.seed, trial.number])
            rates = trial.proposal.recipe.learning_rates
            # the rate of an absent method made no difference: any will do
            self._places[trial.number] = (
                self._points.of(genome, rates, lambda method: drawn_rate(method, rng))
                if genome is not None
                else None
            )
        return self._places[trial.number]

    def _suggest(self, learned: Sequence[FrozenTrial], rng: np.random.Generator) -> Proposal:
        study = self._study
        point = self._advisor.advise(learned, int(rng.integers(2**31)))
        fitted = study.space.decode(self._sampler.fit(self._points.genome(point), rng))
        methods = fitted.methods(study.space.slots)
        recipe = with_rates(study.recipe, methods, self._points.rates(point, methods))
        return Proposal(configuration=fitted, recipe=recipe, seed=study.seed)


class _Advisor:
    """An Optuna study that is kept as long as trials are only added to it.

    Adding all of them anew costs as much as a proposal.
    """

    def __init__(self, points: Points, objectives: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._distributions = points.distributions
        self._ordered = dict(sorted(points.distributions.items()))  # as Optuna has them
        self._directions = ["maximize"] * objectives
        self._held: list[FrozenTrial] = []
        self._study = optuna.create_study(directions=self._directions)

    def advise(self, trials: Sequence[FrozenTrial], seed: int) -> Coordinates:
        """Return one more point."""
        self._hold(trials)
        sampler = optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=_STARTUP, multivariate=True, constant_liar=False
        )
        sampler._parzen_estimator_cls = Parzen  # noqa: SLF001 - Optuna asks for a subclass there
        self._study.sampler = sampler
        # one dimension at a time while it draws; later all at once, which takes half the time
        first = len(trials) < _STARTUP
        advised = self._study.ask(self._distributions if first else None)
        if first:
            point = dict(advised.params)
        else:  # without asking in which dimensions: to find these out it compares all trials
            frozen = trials[-1]  # any: it matters only where others run at the same time
            point = sampler.sample_relative(self._study, frozen, self._ordered)
        # forgotten: what counts is what is told
        self._study.tell(advised, state=TrialState.FAIL)
        return point

    def _hold(self, trials: Sequence[FrozenTrial]) -> None:
        count = len(self._held)
        if any(a is not b for a, b in zip(self._held, trials, strict=False)) or count > len(trials):
            self._study, count = optuna.create_study(directions=self._directions), 0
        self._study.add_trials(trials[count:])
        self._held = list(trials)
