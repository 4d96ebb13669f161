"""Options measured against each other, on the same random draws."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autopeft.strategies.staging.stages import Allowed, Needs, Option
from autopeft.trial import Proposal

_APART = 2.0  # standard errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What an option was worth: the mean score of its samples, and its standard error.

    ``behind`` is the mean paired difference to the option that was kept, and ``behind_error`` the
    standard error of that; with one sample the errors are infinite. ``apart`` tells whether the two
    were told apart.
    """

    option: str
    mean: float
    error: float
    samples: int
    kept: bool
    behind: float
    behind_error: float
    apart: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A stage that is over."""

    stage: str
    options: tuple[Tried, ...]

    @property
    def kept(self) -> str:
        """The option that the search went on with."""
        return next(tried.option for tried in self.options if tried.kept)

    @property
    def sure(self) -> bool:
        """Whether the option that was kept was told apart from every other."""
        return all(tried.apart for tried in self.options if not tried.kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """An option that is possible: what is left under it, and of what one gene has to be on.

    Both hold what earlier stages ask for too.
    """

    option: Option
    allowed: Allowed
    needs: Needs


class Race:
    """One stage: in every round each option gets a sample.

    The first ``samples`` rounds are for all. Then the best and those that are not told apart from
    it go on for up to ``more`` rounds. All follows from the scores of samples, by their keys.
    """

    def __init__(
        self,
        name: str,
        arms: Sequence[Arm],
        *,
        samples: int,
        more: int,
        sample: Callable[[Arm, int], Proposal | None],
    ) -> None:
        self._name, self._arms = name, arms
        self._samples, self._more = samples, more
        self._sample = sample
        self._drawn: list[list[Proposal]] = [[] for _ in arms]

    def missing(
        self, asked: AbstractSet[Hashable], scores: Mapping[Hashable, float | None]
    ) -> Proposal | None:
        """Return a sample that nobody has asked for, None where there is none at present."""
        wanted = self._wanted(scores)
        for number in range(max(wanted)):
            for arm, rounds in enumerate(wanted):
                if number < rounds and (sample := self._at(arm, number)).key not in asked:
                    return sample
        return None

    def decide(
        self, scores: Mapping[Hashable, float | None]
    ) -> tuple[Arm, list[Arm], Decided] | None:
        """Return the option that is kept, it with those that it was not told apart from, and why.

        None while samples still run.
        """
        found = self._values(scores, self._wanted(scores))
        if found is None:
            return None
        best = _best(found)
        tried = tuple(
            _tried(arm.option.name, values, found[best], kept=i == best)
            for i, (arm, values) in enumerate(zip(self._arms, found, strict=True))
        )
        kept = self._arms[best]
        close = [
            arm
            for arm, one in zip(self._arms, tried, strict=True)
            if not one.kept and not one.apart
        ]
        return kept, [kept, *close], Decided(stage=self._name, options=tried)

    def _wanted(self, scores: Mapping[Hashable, float | None]) -> list[int]:
        """Count the samples that each option has or shall have, as far as scores tell."""
        rounds = [self._samples] * len(self._arms)
        for _ in range(self._more):
            found = self._values(scores, rounds)
            if found is None:
                break
            best, longest = _best(found), max(rounds)
            close = [
                i
                for i, values in enumerate(found)
                if rounds[i] == longest and i != best and not _apart(found[best], values)
            ]
            if not close:
                break
            for i in (best, *close):
                rounds[i] += 1
        return rounds

    def _values(
        self, scores: Mapping[Hashable, float | None], rounds: Sequence[int]
    ) -> list[list[float]] | None:
        """Return the scores of every option; None where some are not known yet."""
        keys = [[self._at(arm, n).key for n in range(count)] for arm, count in enumerate(rounds)]
        if any(key not in scores for row in keys for key in row):
            return None
        known = [score for row in keys for key in row if (score := scores[key]) is not None]
        worst = min(known, default=0.0)
        return [[worst if (s := scores[key]) is None else s for key in row] for row in keys]

    def _at(self, arm: int, number: int) -> Proposal:
        """Return a sample; where a draw finds nothing that fits, the one before counts again."""
        drawn = self._drawn[arm]
        while len(drawn) <= number:
            sample = self._sample(self._arms[arm], len(drawn)) or (drawn[-1] if drawn else None)
            if sample is None:
                raise AssertionError("an option without a sample is no option")
            drawn.append(sample)
        return drawn[number]


def _best(found: Sequence[Sequence[float]]) -> int:
    """Find the best mean among the options with the most samples; of equal ones the first."""
    longest = max(map(len, found))
    means = [float(np.mean(v)) if len(v) == longest else -math.inf for v in found]
    return means.index(max(means))


def _apart(best: Sequence[float], other: Sequence[float]) -> bool:
    behind, error = _difference(best, other)
    return behind > _APART * error


def _difference(best: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """Return the mean of the paired differences and its standard error."""
    pairs = np.subtract(best[: len(other)], other[: len(best)])
    return float(pairs.mean()), _error(pairs)


def _error(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Return the standard error of a mean; of a single value nobody knows it."""
    count = len(values)
    return math.inf if count < 2 else float(np.std(values, ddof=1)) / math.sqrt(count)


def _tried(name: str, values: Sequence[float], best: Sequence[float], *, kept: bool) -> Tried:
    behind, behind_error = (0.0, 0.0) if kept else _difference(best, values)
    return Tried(
        option=name,
        mean=float(np.mean(values)),
        error=_error(values),
        samples=len(values),
        kept=kept,
        behind=behind,
        behind_error=behind_error,
        apart=not kept and _apart(best, values),
    )
