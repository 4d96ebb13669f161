"""S4's staged search (Chen et al. 2023, arXiv 2301.01821): the space is refined stage by stage.

At each stage every option is measured on configurations that have it and are otherwise drawn from
what earlier stages have left; the option with the best mean stays. What differs from the paper:

- *Common random numbers.* The n-th draw of every option comes from the same random numbers, so that
  as few cells as possible differ, and what the rest is worth falls out of their difference.
- *Standard errors.* Where the best option is not above another by twice the standard error of
  their paired differences, both get further samples. The record says what was told apart.
- *Learning rates.* The n-th draw of every option has the default rate of each method, times a
  factor that all share: 1 for the first, up to 3 times more or less for the others. The paper's
  rates are fixed, and an option would win for being right for one rate.
- *After the last stage* it goes on with draws from what is left, at drawn rates. For each of them
  a decision that was not sure is taken anew half of the time, among what it was between.

Options are compared by the score alone, at the first rung where there are several: every trial has
been measured there, so that early stopping changes nothing. A trial that failed counts as the worst
of its stage.
"""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autopeft.errors import BudgetError, OptionError, SpaceError
from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.sampling import Sampler
from autopeft.search_spaces.space import SearchSpace
from autopeft.strategies.recipes import drawn_rate, with_rates
from autopeft.strategies.staging.racing import Arm, Decided, Race
from autopeft.strategies.staging.stages import (
    Allowed,
    Needs,
    Option,
    Stage,
    everything,
    restricted,
    stages_of,
)
from autopeft.study import Study
from autopeft.trial import Proposal, Purpose, Trial

_TRIES = 50
_SPREAD = 3.0
_AGAIN = 0.5
_RATES, _FREE = 1_000_001, 1_000_002  # streams of random numbers apart from those of the stages


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``samples`` are drawn of every option, ``more`` further ones of those not told apart.

    The paper has 100 and none. Few samples and more stages find more within a hundred trials than
    many samples do (measured on an additive fit of half of the table benchmark).
    """

    samples: int = 2
    more: int = 2

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> "Options":
        """Read the options of a study.

        Raises:
            OptionError: There is no such option, or it is no whole number that makes sense.
        """
        least = {"samples": 1, "more": 0}
        found = {}
        for name, text in options.items():
            if name not in least:
                raise OptionError(
                    f"the strategy 's4' has no option {name!r}: it has {', '.join(least)}"
                )
            if not text.strip().isdecimal() or int(text) < least[name]:
                raise OptionError(
                    f"the option {name!r} of the strategy 's4' must be a whole number of at least "
                    f"{least[name]}, not {text!r}"
                )
            found[name] = int(text)
        return cls(**found)


class S4Strategy:
    """Refines a space stage by stage, then draws from what is left.

    The proposal depends on the study's seed and on the trials told, and on nothing else.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._options = Options.parse(study.options)
        self._coming = stages_of(study.space)
        self._allowed = everything(study.space)
        self._needs: Needs = ()
        self._decided: list[Decided] = []
        self._standing: list[tuple[Option, ...]] = []
        self._stage: Race | None = None
        self._number = 0
        self._samplers: dict[Allowed, Sampler | None] = {}
        self._own: set[Hashable] = set()
        self._all: set[Hashable] = set()
        self._scores: dict[Hashable, float | None] = {}

    @property
    def stages(self) -> tuple[Decided, ...]:
        """What was decided so far, in order, with what each option was worth."""
        self._advance()
        return tuple(self._decided)

    def ask(self) -> Proposal | None:
        """Return the next sample of the stage, or a draw from what is left.

        While a stage waits for samples that still run there are draws too, so that no worker idles.
        """
        proposal = self._advance() or self._free()
        if proposal:
            self._remember(proposal)
        return proposal

    def tell(self, trial: Trial) -> None:
        """Learn the score of a sample, whoever has proposed it."""
        if trial.proposal.purpose is Purpose.FINAL:
            return
        self._remember(trial.proposal)
        found = trial.at(self._study.rungs[0])
        if found is not None and math.isfinite(found.score):
            self._scores[trial.proposal.key] = found.score
        elif trial.ended:
            self._scores.setdefault(trial.proposal.key, None)

    def _advance(self) -> Proposal | None:
        """Return the next sample that nobody has measured; decide stages on the way."""
        while stage := self._running():
            sample = stage.missing(self._all, self._scores)
            if sample is not None:
                return sample
            decided = stage.decide(self._scores)
            if decided is None:
                return None  # samples still run
            kept, standing, record = decided
            self._go_on_with(kept, standing)
            self._decided.append(record)
            self._stage = None
        return None

    def _go_on_with(self, kept: Arm, standing: Sequence[Arm]) -> None:
        self._allowed, self._needs = kept.allowed, kept.needs
        self._standing.append(tuple(arm.option for arm in standing))

    def _running(self) -> Race | None:
        """Return the stage that is not decided yet, None after the last."""
        while self._stage is None and (stage := next(self._coming, None)):
            self._number += 1
            arms = list(self._arms(stage))
            if len(arms) > 1:
                self._stage = Race(
                    stage.name,
                    arms,
                    samples=self._options.samples,
                    more=self._options.more,
                    sample=self._sample,
                )
            elif arms:  # the only one that is possible
                self._go_on_with(arms[0], arms)
        return self._stage

    def _arms(self, stage: Stage) -> Iterator[Arm]:
        """Yield the options that are possible under the ceiling, equal ones once."""
        seen = set()
        for option in stage.options:
            arm = self._arm(option)
            if arm and (arm.allowed, arm.needs) not in seen:
                seen.add((arm.allowed, arm.needs))
                if self._sample(arm, 0) is not None:
                    yield arm

    def _arm(self, option: Option) -> Arm | None:
        allowed = option.narrow(self._study.space, self._allowed)
        if allowed is None or self._sampler(allowed) is None:
            return None
        return Arm(option=option, allowed=allowed, needs=(*self._needs, *option.needs))

    def _sample(self, arm: Arm, number: int) -> Proposal | None:
        """Draw the sample of a number; the same random numbers serve every option of a stage."""
        rng = np.random.default_rng([self._study.seed, _RATES, number])
        factor = _SPREAD ** float(rng.uniform(-1, 1)) if number else 1.0
        drawn = self._draw(arm.allowed, arm.needs, arm.option.needs, [self._number, number])
        return None if drawn is None else self._proposal(*drawn, factor=factor)

    def _draw(
        self, allowed: Allowed, needs: Needs, own: Needs, stream: Sequence[int]
    ) -> tuple[SearchSpace, tuple[int, ...], np.random.Generator] | None:
        """Draw a genome in which all that is needed is on, or at least what an option needs."""
        sampler = self._sampler(allowed)
        if sampler is None:
            return None
        space, second = restricted(self._study.space, allowed), None
        for attempt in range(_TRIES):
            rng = np.random.default_rng([self._study.seed, *stream, attempt])
            genome = sampler.draw(rng)
            if _has(space, genome, needs):
                return space, genome, rng
            if second is None and _has(space, genome, own):
                second = space, genome, rng
        return second

    def _free(self) -> Proposal | None:
        """Draw from what is left, at rates drawn from the whole of their ranges."""
        for attempt in range(_TRIES):
            stream = [_FREE, len(self._own), attempt]
            allowed, needs = self._left(np.random.default_rng([self._study.seed, *stream]))
            drawn = self._draw(allowed, needs, (), stream)
            if drawn and (proposal := self._proposal(*drawn)).key not in self._all:
                return proposal
        return None

    def _left(self, rng: np.random.Generator) -> tuple[Allowed, Needs]:
        """Return what is left when decisions that were not sure are taken anew half of the time.

        What a decision contradicts then, because it was taken under another one, it leaves open.
        """
        allowed, needs = everything(self._study.space), list[frozenset[int]]()
        for standing in self._standing:
            again = len(standing) > 1 and rng.random() < _AGAIN
            option = standing[int(rng.integers(len(standing))) if again else 0]
            if narrowed := option.narrow(self._study.space, allowed):
                allowed = narrowed
                needs += option.needs
        if self._sampler(allowed) is None:
            return self._allowed, self._needs
        return allowed, tuple(needs)

    def _proposal(
        self,
        space: SearchSpace,
        genome: tuple[int, ...],
        rng: np.random.Generator,
        *,
        factor: float | None = None,
    ) -> Proposal:
        study, configuration = self._study, space.decode(genome)
        methods = configuration.methods(space.slots)
        rates = {m: drawn_rate(m, rng) if factor is None else _rate(m, factor) for m in methods}
        recipe = with_rates(study.recipe, methods, rates)
        return Proposal(configuration=configuration, recipe=recipe, seed=study.seed)

    def _sampler(self, allowed: Allowed) -> Sampler | None:
        """Return what draws under a restriction, None where nothing fits under it."""
        if allowed not in self._samplers:
            study, space = self._study, restricted(self._study.space, allowed)
            try:
                space.must_fit(study.ceiling, study.backbone.parameters)
                self._samplers[allowed] = Sampler(space, study.ceiling)
            except (BudgetError, SpaceError):
                self._samplers[allowed] = None
        return self._samplers[allowed]

    def _remember(self, proposal: Proposal) -> None:
        self._all.add(proposal.key)
        if proposal.purpose is Purpose.SEARCH:
            self._own.add(proposal.key)


def _has(space: SearchSpace, genome: Sequence[int], needs: Needs) -> bool:
    """Tell whether of each set of genes one at least is on."""
    return all(any(space.genes[g].choices[genome[g]] > 0 for g in needed) for needed in needs)


def _rate(method: str, factor: float) -> float:
    rates = METHODS[method].rates
    return min(rates.high, max(rates.low, rates.default * factor))
