"""First points from earlier studies, before and beside a strategy's own proposals."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from autopeft.ports import Strategy
from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.configuration import Configuration
from autopeft.strategies.recipes import with_rates
from autopeft.study import Study
from autopeft.trial import Proposal, Purpose, Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A configuration of this study's space that did well in an earlier study, with its rates.

    ``study`` and ``trial`` say where.
    """

    configuration: Configuration
    learning_rates: Mapping[str, float]
    study: str
    trial: int


class WarmStart:
    """Wraps a strategy: proposes points from earlier studies first, then what the strategy does.

    The strategy is told of them when they have ended, as of trials of its own.
    """

    def __init__(self, study: Study, inner: Strategy, points: Sequence[Point]) -> None:
        self._inner = inner
        proposals = (_proposal(study, point) for point in points)
        self._points = [proposal for proposal in proposals if _fits(study, proposal)]
        self._keys = {proposal.key for proposal in self._points}
        self._asked: set[Hashable] = set()

    def ask(self) -> Proposal | None:
        """Return the next point that nobody has tried, else what the inner strategy proposes."""
        proposal = self._point() or self._of_inner()
        if proposal:
            self._asked.add(proposal.key)
        return proposal

    def tell(self, trial: Trial) -> None:
        """Pass on what was learned.

        A point that waits or runs is kept back, or the strategy's own draws would depend on whether
        the search was resumed in between.
        """
        if trial.proposal.purpose is not Purpose.FINAL:
            self._asked.add(trial.proposal.key)
        own = trial.proposal.purpose is Purpose.SEARCH and trial.proposal.key in self._keys
        if not own or trial.ended or trial.rungs:
            self._inner.tell(trial)

    def _point(self) -> Proposal | None:
        return next((point for point in self._points if point.key not in self._asked), None)

    def _of_inner(self) -> Proposal | None:
        # the inner strategy has not been told of points that still run
        while (proposal := self._inner.ask()) and proposal.key in self._asked:
            pass
        return proposal


def _proposal(study: Study, point: Point) -> Proposal:
    """Take over the rates that did well; a method that has none begins where it usually does."""
    methods = point.configuration.methods(study.space.slots)
    rates = {method: _rate(method, point.learning_rates.get(method)) for method in methods}
    recipe = with_rates(study.recipe, methods, rates)
    return Proposal(configuration=point.configuration, recipe=recipe, seed=study.seed)


def _fits(study: Study, proposal: Proposal) -> bool:
    return 0 < proposal.configuration.parameters(study.space.slots) <= study.ceiling


def _rate(method: str, known: float | None) -> float:
    rates = METHODS[method].rates
    return rates.default if known is None else min(rates.high, max(rates.low, known))
