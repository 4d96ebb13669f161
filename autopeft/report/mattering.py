"""What mattered in a study, as numbers: importances, and what the winner's parts are worth."""

from dataclasses import dataclass
from typing import Literal

from autopeft.answer import Interval

Kind = Literal["slot", "blocks", "recipe"]
NOTHING = Interval(mean=0.0, low=0.0, high=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How much of the variation of scores goes with one thing that was varied.

    The interval reaches from the lowest to the highest of several resamples of the trials.
    """

    kind: Kind
    name: str
    share: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """Shares of what was varied, the largest first, by fANOVA over ``trials`` measured trials.

    All scores were measured at the same share of a training, ``at``. ``chance`` is what a number
    gets that was drawn at random for each trial. Below the fewest trials that can tell anything,
    or without the package that it takes, there are no ``shares``, and ``problem`` says why.
    """

    trials: int
    at: float
    shares: tuple[Share, ...] = ()
    chance: Interval = NOTHING
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What the winner scores without a group of its cells.

    ``difference`` is the score with everything minus that without, over the same examples and
    seeds; None where it was not measured, for the reason ``failure``.
    """

    group: str
    parameters: int
    score: float | None = None
    difference: Interval | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """The effects of a winner's groups, measured with ``seeds`` in the study ``study``.

    Without ``examples`` the data could not be read, and intervals know the seeds alone.
    """

    study: str
    trial: int
    seeds: tuple[int, ...]
    examples: int
    effects: tuple[Effect, ...]
