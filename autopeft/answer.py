"""What a study has found, and how sure that is."""

import math
from dataclasses import dataclass
from typing import Literal

_SMALL = 0.01
_LARGEST = 700  # beyond, exp leaves the range of floating-point numbers
Verdict = Literal["better", "no difference beyond noise", "worse", "not compared"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean with the ends of its 95% bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finalist:
    """A configuration trained again with fresh seeds.

    ``trial`` is the number under which it was found. ``seeds`` counts the fresh runs; with none,
    ``score`` is that of the trial alone, and with fewer than two it knows no noise between seeds.
    """

    trial: int
    name: str
    parameters: int
    seeds: int
    score: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """How far scores of shared weights put configurations in the order of real trainings.

    ``tau`` is Kendall's tau-b and ``rho`` Spearman's, 1 for the same order, 0 for none and -1 for
    the reverse. ``pairs`` counts the configurations that have both scores, ``share`` is how much of
    the recipe the real trainings had seen. ``against`` is what of them was held against the
    inherited scores: the negative validation loss where ``share`` is below 1. Before there was this
    field it was always the score.
    """

    tau: Interval
    rho: Interval
    pairs: int
    share: float
    against: Literal["score", "loss"] = "score"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The finalists, what lies between them, and which one the plan is made of.

    ``difference`` is the best searched configuration minus the best baseline, over the same
    validation examples; ``verdict`` puts it into words, and is "not compared" where fewer than
    two fresh seeds were run. ``chosen`` is the trial of the finalist that is recommended.

    ``ranking`` is None where nothing was proposed by inherited scores. ``warnings`` are sentences
    of what went wrong on the way. ``front`` are the numbers of the trials that no other beats in
    all objectives, ``hypervolumes`` what the front covers after each trial, in their order.
    ``prepared`` are the seconds that were spent before the trials, such as on a supernet.
    """

    metric: str
    validation_examples: int
    trials: int
    searched: Finalist | None
    baseline: Finalist | None
    difference: Interval | None
    verdict: Verdict
    chosen: int
    ranking: Ranking | None = None
    warnings: tuple[str, ...] = ()
    front: tuple[int, ...] = ()
    hypervolumes: tuple[float, ...] = ()
    prepared: float = 0.0

    @property
    def finalist(self) -> Finalist:
        """The finalist that is recommended."""
        for finalist in (self.searched, self.baseline):
            if finalist and finalist.trial == self.chosen:
                return finalist
        raise ValueError("the chosen trial is no finalist")

    def sentence(self) -> str:
        """Say the answer in one sentence, with its interval."""
        best = self.finalist
        noise = counted(best.seeds, "fresh seed") if best.seeds else "its own seed"
        found = (
            f"{best.name} (trial {best.trial}) reaches {self.metric} {best.score.mean:.3f} "
            f"(95% interval {best.score.low:.3f} to {best.score.high:.3f}, {noise}"
            f"{_also(self.metric, best.score.mean)}) "
            f"with {best.parameters:,} trained parameters"
        )
        return f"{found}; {self._against()}."

    def _against(self) -> str:
        searched, baseline, difference = self.searched, self.baseline, self.difference
        if not (searched and baseline and difference):
            return "there was nothing to compare it with"
        size = (
            f"searched minus baseline {difference.mean:+.3f}, 95% interval {difference.low:+.3f} "
            f"to {difference.high:+.3f}"
        )
        bar = f"the best baseline, {baseline.name} (trial {baseline.trial})"
        rival = f"the best searched configuration (trial {searched.trial})"
        other = bar if self.chosen == searched.trial else rival
        if self.verdict == "not compared":
            seeds = counted(searched.seeds, "fresh seed is", "fresh seeds are")
            return f"{seeds} too few to tell it from {other} ({size})"
        if self.verdict == "better":
            return f"it is better than {bar}, at the same budget ({size})"
        if self.verdict == "worse" and other == bar:
            return f"it is worse than {bar}, which lies outside the search space ({size})"
        if self.verdict == "worse":
            return f"{other} is worse ({size})"
        return f"{other} shows no difference beyond noise ({size})"


def counted(count: int, one: str, many: str = "") -> str:
    """Write a number with what it counts; more than one have an s at their end if not ``many``.

    Example:
        >>> counted(1, "epoch"), counted(1200, "epoch"), counted(2, "study", "studies")
        ('1 epoch', '1,200 epochs', '2 studies')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def percent(share: float) -> str:
    """Write a share of a training, with a digit after the point only where it is needed.

    Example:
        >>> percent(1 / 9), percent(1 / 400), percent(1.0)
        ('11%', '0.2%', '100%')
    """
    return f"{share:.1%}" if 0 < share < _SMALL else f"{share:.0%}"


def perplexity(metric: str, score: float) -> float | None:
    """Return a log-likelihood in the form in which language models are compared.

    None where the metric is another one; infinity where the number is too large to be written.
    """
    if metric != "log_likelihood":
        return None
    return math.exp(-score) if score > -_LARGEST else math.inf


def with_perplexity(metric: str, score: float) -> str:
    """Write a score with four digits, and the perplexity that it stands for."""
    return f"{score:.4f}{_also(metric, score)}"


def _also(metric: str, score: float) -> str:
    found = perplexity(metric, score)
    return "" if found is None else f", perplexity {found:.4g}"
