"""Gaussian processes, by Optuna's GPSampler: Bayesian optimisation in less than a second.

Optuna fits a Gaussian process with a length scale for each dimension to each objective, and its
expected improvement (of the score, or of the hypervolume with several objectives) chooses. Two
things are ours:

- *What is looked at.* Optuna climbs over its grid one dimension at a time: 3 to 11 seconds a
  proposal in the 98 dimensions of the space ``unified`` on MiniLM, and the point is over the budget
  as a rule. Here candidates are random draws, children of the best trials, and the neighbours of
  what looks best among them, all within the budget; so the budget, which is known exactly, needs no
  model as a constraint.
- *Short trainings.* Trials that pause count as if they had been trained to the end (``lifted``).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState, create_trial

from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.sampling import Genome, Sampler
from autopeft.strategies.breeding.operators import (
    Rates,
    crossed,
    crossed_rates,
    mutated,
    mutated_rates,
    rates_for,
)
from autopeft.strategies.breeding.parents import Parent, Parents, places_of
from autopeft.strategies.memory import Memory, Point, best_and_latest
from autopeft.strategies.modelling.points import Coordinates, Points
from autopeft.strategies.recipes import with_rates
from autopeft.study import Study
from autopeft.trial import Proposal, Trial

_STARTUP = 8
_MOST = 96
_PENDING = 8
_TRIES = 100
_DRAWN = 128
_PARENTS = 8
_CHILDREN = 128
_ROUNDS = 4
_CLIMBED = 4
_NEIGHBOURS = 24

Values = NDArray[np.float64]
Utility = Callable[[Sequence[Coordinates]], Values]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A point within the budget that may be proposed."""

    genome: Genome
    proposal: Proposal

    @property
    def rates(self) -> Rates:
        """The learning rates of the methods that are there."""
        return self.proposal.recipe.learning_rates


class GpStrategy:
    """Proposes what is expected to improve most, by a Gaussian process over sizes and rates.

    The proposal depends on the study's seed, on the trials told, and on how many were asked for.
    What was proposed and has not ended counts too: expectations are over what may come of it.
    """

    def __init__(self, study: Study) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = study
        self._points = Points(study.space)
        self._sampler = Sampler(study.space, study.ceiling)
        self._memory = Memory()
        self._parents = Parents(study)

    def ask(self) -> Proposal | None:
        """Return a proposal not asked before, or None when no new one was found."""
        proposal = self._modelled() or self._drawn()
        if proposal:
            self._memory.remember(proposal)
        return proposal

    def tell(self, trial: Trial) -> None:
        """Learn from a trial that was measured; remember that one which waits was proposed."""
        self._memory.tell(trial)

    def _modelled(self) -> Proposal | None:
        parents = self._parents.of(self._memory)
        if len(parents) < _STARTUP:
            return None
        kept = best_and_latest(parents, places_of, _MOST)
        rng = np.random.default_rng([self._study.seed, self._memory.asked])
        chosen: list[Candidate] = []

        def choose(utility: Utility) -> Coordinates | None:
            chosen.extend(self._climbed(utility, kept, rng))
            return self._place(chosen[0].genome, chosen[0].rates) if chosen else None

        advisor = optuna.create_study(
            directions=["maximize"] * len(self._study.objectives),
            sampler=_Choosing(choose, seed=int(rng.integers(2**31))),
        )
        advisor.add_trials(list(self._told(kept)))
        advisor.ask(self._points.distributions)
        return chosen[0].proposal if chosen else None

    def _told(self, kept: Sequence[Parent]) -> Iterator[FrozenTrial]:
        """Yield what was measured, and what was proposed and is not yet."""
        space = self._study.space
        for parent in kept:
            yield self._frozen(parent.genome, parent.rates, parent.point)
        for proposal in self._memory.pending[:_PENDING]:
            if (genome := space.encode(proposal.configuration)) is not None:
                yield self._frozen(genome, proposal.recipe.learning_rates, None)

    def _frozen(self, genome: Genome, rates: Rates, point: Point | None) -> FrozenTrial:
        return create_trial(
            state=TrialState.COMPLETE if point else TrialState.RUNNING,
            values=point,
            params=self._place(genome, rates),
            distributions=self._points.distributions,
        )

    def _climbed(
        self, utility: Utility, kept: Sequence[Parent], rng: np.random.Generator
    ) -> list[Candidate]:
        """Return the candidate of the highest utility, of which nothing is known yet; or none."""
        found: dict[Any, tuple[float, Candidate]] = {}
        candidates = [*self._draws(rng), *self._children(kept, rng)]
        for climbing in range(_ROUNDS):
            fresh = {
                key: candidate
                for candidate in candidates
                if not self._memory.knows(candidate.proposal)
                and (key := candidate.proposal.key) not in found
            }
            if fresh:
                places = [self._place(c.genome, c.rates) for c in fresh.values()]
                pairs = zip(utility(places).tolist(), fresh.values(), strict=True)
                found |= dict(zip(fresh, pairs, strict=True))
            top = sorted(found.values(), key=lambda pair: -pair[0])[:_CLIMBED]
            if climbing < _ROUNDS - 1:
                candidates = [self._neighbour(c.genome, c.rates, rng)
                              for _, c in top for _ in range(_NEIGHBOURS)]  # fmt: skip
        return [candidate for _, candidate in top[:1]]

    def _draws(self, rng: np.random.Generator) -> Iterator[Candidate]:
        for _ in range(_DRAWN):
            yield self._candidate(self._sampler.draw(rng), {}, rng)

    def _children(self, kept: Sequence[Parent], rng: np.random.Generator) -> Iterator[Candidate]:
        order = np.argsort(places_of(kept), kind="stable")[:_PARENTS]
        for place in range(_CHILDREN):
            one, other = kept[order[place % len(order)]], kept[rng.choice(order)]
            rates = crossed_rates(one.rates, other.rates, rng)
            genome = crossed(self._study.space, one.genome, other.genome, rng)
            yield self._neighbour(genome, rates, rng)

    def _neighbour(self, genome: Genome, rates: Rates, rng: np.random.Generator) -> Candidate:
        """Change one gene or about one, the rates, or both."""
        kind, each = rng.integers(3), 1 / max(1, len(genome))
        if kind != 0:
            genome = mutated(self._study.space, genome, rng, sizes=each, frames=each)
        if kind != 1:
            rates = mutated_rates(rates, rng)
        return self._candidate(genome, rates, rng)

    def _candidate(
        self, genome: Sequence[int], inherited: Rates, rng: np.random.Generator
    ) -> Candidate:
        study, fitted = self._study, self._sampler.fit(genome, rng)
        configuration = study.space.decode(fitted)
        methods = configuration.methods(study.space.slots)
        recipe = with_rates(study.recipe, methods, rates_for(methods, inherited, rng))
        proposal = Proposal(configuration=configuration, recipe=recipe, seed=study.seed)
        return Candidate(genome=fitted, proposal=proposal)

    def _drawn(self) -> Proposal | None:
        for attempt in range(_TRIES):
            rng = np.random.default_rng([self._study.seed, self._memory.asked, attempt])
            proposal = self._candidate(self._sampler.draw(rng), {}, rng).proposal
            if not self._memory.knows(proposal):
                return proposal
        return None

    def _place(self, genome: Genome, rates: Rates) -> Coordinates:
        """Return a point; the rate of a method that is not there is the usual one of it."""
        return self._points.of(genome, rates, lambda method: METHODS[method].rates.default)


class _Choosing(optuna.samplers.GPSampler):  # type: ignore[misc]  # optuna has no types
    """Optuna's model, which is asked about points that somebody else chooses.

    ``_optimize_acqf`` is the method that Optuna names for being replaced, without a promise that it
    stays: a test holds that it is called.
    """

    def __init__(self, choose: Callable[[Utility], Coordinates | None], seed: int) -> None:
        super().__init__(seed=seed, n_startup_trials=1)
        self._choose = choose

    def _optimize_acqf(self, acqf: Any, best_params: Any) -> Any:
        def normal(points: Sequence[Coordinates]) -> Values:
            # it counts the first argument and reads the second
            found: Values = acqf.search_space.get_normalized_params(points, points)
            return found

        def utility(points: Sequence[Coordinates]) -> Values:
            found: Values = acqf.eval_acqf_no_grad(normal(points))
            return found

        chosen = self._choose(utility)
        return np.asarray(best_params)[0] if chosen is None else normal([chosen])[0]
