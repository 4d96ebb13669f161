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


def token_accuracy(truth: Values, predictions: Values) -> float:
    """Return the share of all words that have the right tag.

    A row of ``truth`` holds the numbers of words and of entities, a row of ``predictions`` the
    words with the right tag, the entities that are right, and those that were predicted.
    """
    return float(predictions[:, 0].sum() / truth[:, 0].sum())


def entity_f1(truth: Values, predictions: Values) -> float:
    """Return the F1 of entities over all sentences; one is right if kind and ends are.

    Rows are those of `token_accuracy`. By convention 0.0 where there are no entities at all.

    Example:
        Two of three entities were found, and one that is none.

        >>> entity_f1(np.array([[5, 2], [4, 1]]), np.array([[5, 2, 2], [3, 0, 1]]))
        0.6666666666666666
    """
    marked = truth[:, 1].sum() + predictions[:, 2].sum()
    return float(2 * predictions[:, 1].sum() / marked) if marked else 0.0


def log_likelihood(_truth: Values, predictions: Values) -> float:
    """Return the mean log-likelihood of a token, in nats; perplexity is ``exp(-score)``.

    A row of ``predictions`` holds an example's log-likelihood, its number of tokens, and whether
    each of them was the likeliest. All tokens weigh the same, those of long examples too.

    Example:
        >>> round(log_likelihood(np.zeros(2), np.array([[-3.0, 2, 1], [-1.0, 2, 0]])), 3)
        -1.0
    """
    tokens = predictions[:, 1].sum()
    return float(predictions[:, 0].sum() / tokens) if tokens else 0.0


def exact_match(_truth: Values, predictions: Values) -> float:
    """Return the share of examples that greedy decoding gives to the letter.

    It does so if and only if each token of the answer is the likeliest after those before it,
    which one pass over the true answer tells: nothing needs to be generated.
    """
    return float(predictions[:, 2].mean())


LANGUAGE: tuple[TaskKind, ...] = ("causal_lm", "seq2seq")
CLASSES: tuple[TaskKind, ...] = ("classification", "image")

# The first that fits a kind of task is its default.
METRICS: dict[Metric, Scorer] = {
    scorer.name: scorer
    for scorer in (
        Scorer(name="accuracy", kinds=CLASSES, score=accuracy),
        Scorer(name="macro_f1", kinds=CLASSES, score=macro_f1),
        Scorer(name="spearman", kinds=("regression",), score=spearman),
        Scorer(name="token_accuracy", kinds=("tokens",), score=token_accuracy),
        Scorer(name="entity_f1", kinds=("tokens",), score=entity_f1),
        Scorer(name="log_likelihood", kinds=LANGUAGE, score=log_likelihood),
        Scorer(name="exact_match", kinds=LANGUAGE, score=exact_match),
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
