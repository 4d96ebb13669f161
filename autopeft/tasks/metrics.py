"""Scores of predictions; higher is better, and each is cheap enough for a bootstrap."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autopeft.errors import OptionError
from autopeft.study import Metric, TaskKind

Values = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """A metric: which kinds of task it fits, and its function of truth and predictions."""

    name: Metric
    kinds: tuple[TaskKind, ...]
    score: Callable[[Values, Values], float]


def accuracy(truth: Values, predictions: Values) -> float:
    """Return the share of rows whose class index was predicted."""
    return float(np.mean(truth == predictions))


def macro_f1(truth: Values, predictions: Values) -> float:
    """Return the mean F1 of all classes that occur in the truth or in the predictions.

    Class indices may come as floats, the form in which predictions are stored.

    Example:
        Class 0 has F1 2/3, class 1 has 4/5.

        >>> round(macro_f1(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])), 3)
        0.733
    """
    truth, predictions = truth.astype(np.intp), predictions.astype(np.intp)
    width = int(max(truth.max(), predictions.max())) + 1
    hits = np.bincount(truth[truth == predictions], minlength=width)
    # 2 tp / (2 tp + fp + fn), whose denominator is true rows plus predicted rows.
    rows = np.bincount(truth, minlength=width) + np.bincount(predictions, minlength=width)
    occurs = rows > 0
    return float(np.mean(2 * hits[occurs] / rows[occurs]))


def spearman(truth: Values, predictions: Values) -> float:
    """Return Spearman's rho, the correlation of the ranks.

    By convention 0.0, never NaN, where a side has no order: it is constant or holds a NaN.
    """
    from scipy.stats import rankdata  # half a second, which classification does not need

    if np.isnan(truth).any() or np.isnan(predictions).any():
        return 0.0
    true_ranks = rankdata(truth) - (len(truth) + 1) / 2
    ranks = rankdata(predictions) - (len(predictions) + 1) / 2
    spread = float(np.sqrt((true_ranks @ true_ranks) * (ranks @ ranks)))
    return float(true_ranks @ ranks) / spread if spread > 0 else 0.0


# The first that fits a kind of task is its default.
METRICS: dict[Metric, Scorer] = {
    scorer.name: scorer
    for scorer in (
        Scorer(name="accuracy", kinds=("classification",), score=accuracy),
        Scorer(name="macro_f1", kinds=("classification",), score=macro_f1),
        Scorer(name="spearman", kinds=("regression",), score=spearman),
    )
}


def metric_for(kind: TaskKind, name: Metric | None = None) -> Metric:
    """Return the metric if it fits the kind of task, or the kind's default if none is named.

    Raises:
        OptionError: There is no such metric, or it does not fit.
    """
    fitting = [scorer.name for scorer in METRICS.values() if kind in scorer.kinds]
    if name is None:
        return fitting[0]
    if name not in fitting:
        raise OptionError(f"metric {name!r} does not fit {kind}: use {' or '.join(fitting)}")
    return name
