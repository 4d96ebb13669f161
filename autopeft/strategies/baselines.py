"""Plain configurations before and between a strategy's own: the bar that an answer is held to."""

from collections.abc import Hashable, Iterator
from contextlib import suppress
from dataclasses import replace

from autopeft.errors import SpaceError
from autopeft.ports import Strategy
from autopeft.search_spaces.baselines import BASELINES, fill
from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.configuration import Configuration
from autopeft.search_spaces.written.named import named_configuration
from autopeft.strategies.memory import has_score, lifted
from autopeft.strategies.recipes import default_recipe, rounded
from autopeft.study import Study
from autopeft.trial import Proposal, Purpose, Trial

_FACTORS = (3.0, 1 / 3, 9.0, 1 / 9)
_EVERY = 4


class BaselinesFirst:
    """Wraps a strategy: proposes the baselines at the budget first, then every fourth time again.

    Again means: the best baseline so far at another learning rate, because a search that tunes
    rates for its own configurations alone would win against a bar that nobody has tuned.
    """

    def __init__(self, study: Study, inner: Strategy) -> None:
        self._study = study
        self._inner = inner
        self._defaults = _baselines(study)
        self._asked: set[Hashable] = set()
        self._measured: dict[int, Trial] = {}

    def ask(self) -> Proposal | None:
        """Return a baseline when one is due, else what the inner strategy proposes."""
        proposal = self._due() or self._of_inner() or self._tuning()
        if proposal:
            self._asked.add(proposal.key)
        return proposal

    def tell(self, trial: Trial) -> None:
        """Pass on what was learned, and note how the baselines do."""
        self._inner.tell(trial)
        proposal = trial.proposal
        if proposal.purpose is not Purpose.FINAL:
            self._asked.add(proposal.key)
        if proposal.purpose is Purpose.BASELINE and has_score(trial):
            self._measured[trial.number] = trial

    def _due(self) -> Proposal | None:
        for proposal in self._defaults:
            if proposal.key not in self._asked:
                return proposal
        return self._tuning() if len(self._asked) % _EVERY == _EVERY - 1 else None

    def _of_inner(self) -> Proposal | None:
        # the inner strategy has not been told of baselines that still run
        while (proposal := self._inner.ask()) and proposal.key in self._asked:
            pass
        return proposal

    def _tuning(self) -> Proposal | None:
        default = {proposal.label: proposal for proposal in self._defaults}
        for label in self._ranked():
            for factor in _FACTORS:
                tuned = _scaled(default[label], factor)
                if tuned.key not in self._asked:
                    return tuned
        return None

    def _ranked(self) -> list[str]:
        """Return the labels of the baselines that have a score, the best first."""
        measured = [self._measured[number] for number in sorted(self._measured)]
        scores: dict[str, float] = {}
        for trial, point in zip(measured, lifted(self._study, measured), strict=True):
            label = trial.proposal.label
            scores[label] = max(point[0], scores.get(label, point[0]))
        order = {proposal.label: place for place, proposal in enumerate(self._defaults)}
        known = [label for label in order if label in scores]
        return sorted(known, key=lambda label: -scores[label])


def _baselines(study: Study) -> tuple[Proposal, ...]:
    """Propose what fills the budget, and the published configurations that the space names."""
    slots = study.space.slots
    return tuple(
        Proposal(
            configuration=configuration,
            recipe=default_recipe(study.recipe, configuration.methods(slots)),
            seed=study.seed,
            purpose=Purpose.BASELINE,
            label=name,
        )
        for name, configuration in (*_filled(study), *_published(study))
    )


def _filled(study: Study) -> Iterator[tuple[str, Configuration]]:
    for pattern in BASELINES:
        with suppress(SpaceError):  # a backbone may lack the site
            found = fill(pattern, study.backbone.blocks, study.space.slots, study.ceiling)
            if found:
                yield pattern.name, found


def _published(study: Study) -> Iterator[tuple[str, Configuration]]:
    slots = study.space.slots
    for name in study.space.start_from:
        with suppress(SpaceError):  # the backbone may lack what it needs
            found = named_configuration(name).on(study.backbone, slots, study.ceiling)
            if 0 < found.parameters(slots) <= study.ceiling:
                yield name, found


def _scaled(proposal: Proposal, factor: float) -> Proposal:
    rates = {
        method: rounded(min(METHODS[method].rates.high, max(METHODS[method].rates.low, r * factor)))
        for method, r in proposal.recipe.learning_rates.items()
    }
    return replace(proposal, recipe=replace(proposal.recipe, learning_rates=rates))
