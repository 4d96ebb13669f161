"""How far inherited scores can be trusted: do they put configurations in the order of trainings?

Some configurations, drawn across the range of inherited scores, are trained by themselves. They are
called probes. Their inherited scores are held against their real ones by two rank correlations,
Kendall's tau-b and Spearman's rho, with bootstrap intervals over the probes. Trials that a strategy
chose for their inherited score say less, since all of theirs are high, and are left out.

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
LEAST_TAU = 0.0
"""Above this must the lower end of tau's interval be.

Of six probes whose two scores have nothing to do with each other fewer than one set in fifty gets
there; with a true tau of 0.7 about half do, and most where there are ten probes.
"""
FEWEST_PAIRS = 5
"""With four, one order in twenty-four is perfect by luck, and the bootstrap cannot tell."""
RESAMPLES = 1000
_FEWEST = 3  # of fewer every order is perfect, or the reverse
_UNKNOWN = Interval(mean=0.0, low=-1.0, high=1.0)
Signs = NDArray[np.int8]
Values = NDArray[np.float64]


def ranking_of(study: Study, trials: Iterable[Trial]) -> Ranking | None:
    """Hold the inherited scores of the probes against their real ones; None without any.

    Real are the scores at the smallest share of the recipe at which all probes were measured that
    were measured at all. Fewer than three pairs, or equal scores on one side, say nothing: then
    both are 0, and lie anywhere from -1 to 1.
    """
    probes = [trial for trial in trials if _is_probe(trial)]
    common = [share for share in study.rungs if probes and all(t.at(share) for t in probes)]
    if not common:
        return None
    pairs = [
        (trial.proposal.inherited, measured.score)
        for trial in probes
        if trial.proposal.inherited is not None and (measured := trial.at(common[0]))
    ]
    finite = [pair for pair in pairs if all(map(math.isfinite, pair))]
    tau, rho = correlations(finite, study.seed)
    return Ranking(tau=tau, rho=rho, pairs=len(finite), share=common[0])


def trust(ranking: Ranking | None) -> Literal["guides", "unsure"]:
    """Tell whether inherited scores may guide a search, or real trainings must."""
    if ranking is None or ranking.pairs < FEWEST_PAIRS or ranking.tau.low <= LEAST_TAU:
        return "unsure"
    return "guides"


def correlations(pairs: Sequence[tuple[float, float]], seed: int) -> tuple[Interval, Interval]:
    """Return Kendall's tau-b and Spearman's rho of pairs, with 95% bootstrap intervals."""
    if len(pairs) < _FEWEST:
        return _UNKNOWN, _UNKNOWN
    first_N, second_N = np.asarray(pairs, dtype=np.float64).T
    rng = np.random.default_rng(seed)
    drawn_RN = rng.integers(len(pairs), size=(RESAMPLES, len(pairs)))
    both = [(_signs(v[None]), _signs(v[drawn_RN])) for v in (first_N, second_N)]
    (first, first_again), (second, second_again) = both
    return (
        _interval(_tau(first, second), _tau(first_again, second_again)),
        _interval(_rho(first, second), _rho(first_again, second_again)),
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


def _interval(found_1: Values, sampled_R: Values) -> Interval:
    mean = float(found_1[0])
    if math.isnan(mean):
        return _UNKNOWN
    low, high = np.nanpercentile(sampled_R, [2.5, 97.5])
    return Interval(mean=mean, low=float(low), high=float(high))
