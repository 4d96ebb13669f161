"""How much of the variation of scores goes with what was varied: Optuna's functional ANOVA.

Axes: N trials, F things that were varied.
"""

import importlib.util
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autopeft.ablation import blocks_named, thirds
from autopeft.answer import Interval, counted, percent
from autopeft.report.mattering import Importance, Kind, Share
from autopeft.search_spaces.catalog import METHODS
from autopeft.study import Study
from autopeft.trial import Purpose, Trial

FEWEST = 20
"""Of fewer trials a forest learns the trials, and no importance is worth a name."""
MOST = 200
"""Of more trials so many are drawn: the forest does not get better, and takes its time."""
_RESAMPLES = 8
_TREES = 16
_CHANCE = "a number drawn at random"
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Varied:
    """A thing that was varied, with its value in each trial."""

    kind: Kind
    name: str
    values_N: Values


def importance_of(study: Study, trials: Sequence[Trial]) -> Importance:
    """Tell what the scores of a study vary with, at the rung that most trials have reached.

    Each interval reaches from the lowest to the highest of several resamples of the trials. Equal
    trials give equal numbers.
    """
    at, measured = _measured(study, trials)
    known = Importance(trials=len(measured), at=at)
    if len(measured) < FEWEST:
        found = counted(len(measured), "trial has", "trials have")
        return _without(known, f"{found} a score at {percent(at)} of a training, and fewer than "
                        f"{FEWEST} say nothing about what matters.")  # fmt: skip
    if importlib.util.find_spec("sklearn") is None:
        return _without(known, "What mattered is found by scikit-learn, which is not installed: "
                        "`pip install autopeft[report]`.")  # fmt: skip
    rng = np.random.default_rng(study.seed)
    kept = sorted(rng.permutation(len(measured))[:MOST])
    used = [measured[place] for place in kept]
    varied = tuple(_varied(study, [trial for trial, _ in used]))
    if not varied:
        return _without(known, "Nothing was varied.")
    scores_N = np.array([score for _, score in used])
    return _analysed(known, varied, scores_N, rng)


def _without(known: Importance, problem: str) -> Importance:
    return Importance(trials=known.trials, at=known.at, problem=problem)


def _measured(study: Study, trials: Sequence[Trial]) -> tuple[float, list[tuple[Trial, float]]]:
    """Return the share of a training at which most trials have a score, and those scores."""
    rungs = []
    for share in study.rungs:
        here = [
            (trial, found.score)
            for trial in trials
            if trial.proposal.purpose is not Purpose.FINAL
            and (found := trial.at(share))
            and math.isfinite(found.score)
        ]
        rungs.append((share, here))
    return max(rungs, key=lambda rung: (len(rung[1]), rung[0]))


def _varied(study: Study, trials: Sequence[Trial]) -> Iterator[_Varied]:
    """Yield what differs between trials: parameters by slot and by place, and learning rates."""
    slots = study.space.slots
    cells = np.array(
        [
            [
                [s.parameters(n) for s, n in zip(slots, row, strict=True)]
                for row in t.proposal.configuration.sizes
            ]
            for t in trials
        ],
        dtype=np.float64,
    )  # trials, blocks, slots
    for column, slot in enumerate(slots):
        yield from _if_varied("slot", slot.name, cells[:, :, column].sum(1))
    for first, last in thirds(cells.shape[1]):
        yield from _if_varied("blocks", blocks_named(first, last), cells[:, first:last].sum((1, 2)))
    methods = dict.fromkeys(m for t in trials for m in t.proposal.recipe.learning_rates)
    for method in methods:
        usual = math.log(METHODS[method].rates.default)
        rates_N = [t.proposal.recipe.learning_rates.get(method) for t in trials]
        logs_N = np.array([math.log(rate) if rate else usual for rate in rates_N])
        yield from _if_varied("recipe", f"learning rate of {method}", logs_N)


def _if_varied(kind: Kind, name: str, values_N: Values) -> Iterator[_Varied]:
    if np.ptp(values_N) > 0:
        yield _Varied(kind=kind, name=name, values_N=values_N)


def _analysed(
    known: Importance, varied: Sequence[_Varied], scores_N: Values, rng: np.random.Generator
) -> Importance:
    chance = _Varied(kind="recipe", name=_CHANCE, values_N=rng.random(len(scores_N)))
    values_NF = np.stack([each.values_N for each in (*varied, chance)], axis=1)
    found = []
    for seed in range(_RESAMPLES):
        drawn_N = rng.integers(len(scores_N), size=len(scores_N))
        found.append(_shares(values_NF[drawn_N], scores_N[drawn_N], seed))
    intervals = [_interval([shares[place] for shares in found]) for place in range(len(found[0]))]
    named = zip(varied, intervals, strict=False)
    shares = [Share(kind=each.kind, name=each.name, share=interval) for each, interval in named]
    shares.sort(key=lambda share: -share.share.mean)
    return Importance(trials=known.trials, at=known.at, shares=tuple(shares), chance=intervals[-1])


def _interval(values: Sequence[float]) -> Interval:
    return Interval(mean=float(np.mean(values)), low=min(values), high=max(values))


def _shares(values_NF: Values, scores_N: Values, seed: int) -> list[float]:
    """Return the share of each thing in the variance of a forest's prediction."""
    import optuna
    from optuna.distributions import BaseDistribution, FloatDistribution
    from optuna.importance import FanovaImportanceEvaluator

    ends = list(zip(values_NF.min(0), values_NF.max(0), strict=True))
    if np.ptp(scores_N) == 0:
        return [0.0] * len(ends)
    names = [str(place) for place in range(len(ends))]
    spaces: dict[str, BaseDistribution] = {
        name: FloatDistribution(low, high) for name, (low, high) in zip(names, ends, strict=True)
    }
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        told = optuna.create_study(direction="maximize")
    finally:
        optuna.logging.set_verbosity(verbosity)
    told.add_trials(
        [
            optuna.trial.create_trial(
                params=dict(zip(names, map(float, row), strict=True)),
                distributions=spaces,
                value=float(score),
            )
            for row, score in zip(values_NF, scores_N, strict=True)
        ]
    )
    evaluator = FanovaImportanceEvaluator(n_trees=_TREES, seed=seed)
    shares = evaluator.evaluate(told, params=names)
    return [float(shares.get(name, 0.0)) for name in names]
