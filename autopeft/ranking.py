"""How far inherited scores can be trusted: do they put configurations in the order of trainings?

Some configurations, drawn across the range of inherited scores, are trained by themselves. They are
called probes. Their inherited scores are held against what was measured by two rank correlations,
Kendall's tau-b and Spearman's rho, with bootstrap intervals over the probes. Trials that a strategy
chose for their inherited score say less, since all of theirs are high, and are left out.

After a part of a training the negative validation loss stands for the score, as it does where
trials are stopped early (see `autopeft.halving`).

Axes: R resamples, N pairs; a second N where each is held against each.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from autopeft.answer import Interval, Ranking
from autopeft.study import Study
from autopeft.trial import Purpose, Trial

PROBE = "probe"
"""The label of a trial that is run to learn how far inherited scores can be trusted."""
MOST_CHANCE = 0.05
"""No more of all orders may agree as well by chance where inherited scores are to guide.

Of six probes at most two of the fifteen pairs may then be swapped: 1 in 36 does that whose two
scores have nothing to do with each other, one in three with a true tau of 0.5, six in ten with 0.7
and nineteen in twenty with 0.9. ``benchmarks/probes.py`` prints the table.
"""
FEWEST_PAIRS = 5
"""With four a single swapped pair would already be put down to chance."""
RESAMPLES = 1000
_FEWEST = 3  # of fewer every order is perfect, or the reverse
_UNKNOWN = Interval(mean=0.0, low=-1.0, high=1.0)
Signs = NDArray[np.int8]
Values = NDArray[np.float64]


def ranking_of(study: Study, trials: Iterable[Trial]) -> Ranking | None:
    """Hold the inherited scores of the probes against what was measured; None without any.

    That is at the smallest share of the recipe at which all probes were measured that were measured
    at all: the loss, or at the end of a training the score, and the loss among equal scores. Fewer
    than three pairs, or equal values on one side, say nothing: then both are 0, and lie anywhere
    from -1 to 1.
    """
    probes = [trial for trial in trials if _is_probe(trial)]
    common = [share for share in study.rungs if probes and all(t.at(share) for t in probes)]
    if not common:
        return None
    share = common[0]
    finite = [
        (trial.proposal.inherited, at)
        for trial in probes
        if trial.proposal.inherited is not None
        and (at := trial.at(share))
        and math.isfinite(trial.proposal.inherited + at.score + at.loss)
    ]
    worth = [(-at.loss,) if share < 1 else (at.score, -at.loss) for _, at in finite]
    places = {value: float(place) for place, value in enumerate(sorted(set(worth)))}
    pairs = [(one, places[value]) for (one, _), value in zip(finite, worth, strict=True)]
    tau, rho = correlations(pairs, study.seed)
    against: Literal["score", "loss"] = "loss" if share < 1 else "score"
    return Ranking(tau=tau, rho=rho, pairs=len(pairs), share=share, against=against)


def trust(ranking: Ranking | None) -> Literal["guides", "unsure"]:
    """Tell whether inherited scores may guide a search, or real trainings must."""
    if ranking is None or ranking.pairs < FEWEST_PAIRS or chance(ranking) > MOST_CHANCE:
        return "unsure"
    return "guides"


def chance(ranking: Ranking) -> float:
    """Return how many of all orders of so many agree as well or better, as a share.

    It is exact where no two are equal (Kendall 1938): each number of swapped pairs is counted.

    Example:
        Of the 720 orders of six one is the same, five have one pair swapped and fourteen two.

        >>> tau = Interval(mean=11 / 15, low=0.0, high=1.0)
        >>> chance(Ranking(tau=tau, rho=tau, pairs=6, share=1.0)) * 720
        20.0
    """
    shares = np.ones(1)  # of the orders that have 0, 1, 2, ... pairs swapped
    for count in range(2, ranking.pairs + 1):
        shares = np.convolve(shares, np.full(count, 1 / count))
    swapped = (1 - ranking.tau.mean) / 2 * (len(shares) - 1)
    return float(shares[: math.floor(swapped + 1e-6) + 1].sum())


def correlations(pairs: Sequence[tuple[float, float]], seed: int) -> tuple[Interval, Interval]:
    """Return Kendall's tau-b and Spearman's rho of pairs, with 95% bootstrap intervals.

    An interval holds at least what one more probe could make of the correlation. Without that, all
    resamples of a perfect order are perfect, and of six with a true tau of 0.9 the interval would
    hold it in only half of all cases.
    """
    if len(pairs) < _FEWEST:
        return _UNKNOWN, _UNKNOWN
    rng = np.random.default_rng(seed)
    drawn_RN = rng.integers(len(pairs), size=(RESAMPLES, len(pairs)))
    first_N, second_N = np.asarray(pairs, dtype=np.float64).T
    found = [(_signs(v[None]), _signs(v[drawn_RN])) for v in (first_N, second_N)]
    (first, first_again), (second, second_again) = found
    above = _signs(_one_more(first_N))
    more = [(above, _signs(_one_more(second_N))), (above, -_signs(_one_more(-second_N)))]
    return (
        _interval(_tau(first, second), _tau(first_again, second_again), [_tau(*m) for m in more]),
        _interval(_rho(first, second), _rho(first_again, second_again), [_rho(*m) for m in more]),
    )


def _is_probe(trial: Trial) -> bool:
    proposal = trial.proposal
    return (
        proposal.label == PROBE
        and proposal.purpose is Purpose.SEARCH
        and proposal.inherited is not None
        and bool(trial.rungs or trial.measurement)
    )


def _signs(values_RN: Values) -> Signs:
    """Return 1 where the first of two is larger, -1 where the second is, else 0."""
    signs_RNN = np.sign(values_RN[:, :, None] - values_RN[:, None])
    return signs_RNN.astype(np.int8)


def _tau(first_RNN: Signs, second_RNN: Signs) -> Values:
    """Return tau-b (Kendall 1945): ties count on neither side. No number where all are ties."""
    return _cosine(first_RNN.reshape(len(first_RNN), -1), second_RNN.reshape(len(second_RNN), -1))


def _rho(first_RNN: Signs, second_RNN: Signs) -> Values:
    """Return Spearman's rho. The sum of its signs is twice a value's centred average rank."""
    return _cosine(first_RNN.sum(-1), second_RNN.sum(-1))


def _cosine(first_RM: NDArray[np.integer], second_RM: NDArray[np.integer]) -> Values:
    first, second = first_RM.astype(np.float64), second_RM.astype(np.float64)
    size_R = np.sqrt((first**2).sum(1) * (second**2).sum(1))
    together_R = (first * second).sum(1)
    found_R = np.full(len(size_R), np.nan)
    np.divide(together_R, size_R, out=found_R, where=size_R > 0)
    return found_R


def _interval(found_1: Values, sampled_R: Values, one_more: Sequence[Values]) -> Interval:
    mean = float(found_1[0])
    if math.isnan(mean):
        return _UNKNOWN
    low, high = np.nanpercentile(sampled_R, [2.5, 97.5])
    ends = [float(low), float(high), *(float(more[0]) for more in one_more)]
    return Interval(mean=mean, low=min(ends), high=max(ends))


def _one_more(values_N: Values) -> Values:
    """Return values with a larger one behind them, as a single row."""
    return np.append(values_N, values_N.max() + 1)[None]
