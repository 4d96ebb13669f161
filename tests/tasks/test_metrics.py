import timeit
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import accuracy_score, f1_score

from autopeft.errors import OptionError
from autopeft.study import Metric, TaskKind
from autopeft.tasks.metrics import (
    METRICS,
    accuracy,
    entity_f1,
    exact_match,
    log_likelihood,
    macro_f1,
    metric_for,
    spearman,
    token_accuracy,
)

CLASSES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)


@settings(max_examples=20, deadline=None)  # scikit-learn takes some milliseconds each
@given(CLASSES)
def test_accuracy_and_macro_f1_agree_with_scikit_learn(pairs):
    """Also where a class occurs on one side only, as it does in bootstrap samples."""
    truth, predictions = np.array(pairs).T

    assert accuracy(truth, predictions) == pytest.approx(accuracy_score(truth, predictions))
    assert macro_f1(truth, predictions) == pytest.approx(
        f1_score(truth, predictions, average="macro", zero_division=0)
    )


def test_class_indices_may_be_floats():
    truth, predictions = np.array([0, 1, 2, 1]), np.array([0, 1, 1, 1])

    for score in (accuracy, macro_f1):
        assert score(truth, predictions.astype(float)) == score(truth, predictions)


@pytest.mark.parametrize("seed", range(5))
def test_spearman_agrees_with_scipy_with_and_without_ties(seed):
    rng = np.random.default_rng(seed)
    truth, noise = rng.normal(size=60), rng.normal(size=60)

    # 1e-12: both sum 60 products of ranks, in different order.
    assert spearman(truth, truth + noise) == pytest.approx(
        spearmanr(truth, truth + noise).statistic, abs=1e-12
    )
    assert spearman(truth.round(), noise.round()) == pytest.approx(
        spearmanr(truth.round(), noise.round()).statistic, abs=1e-12
    )


@pytest.mark.parametrize("predictions", [[0.5, 0.5, 0.5], [0.1, float("nan"), 0.3]])
def test_spearman_of_predictions_without_an_order_is_zero(predictions):
    """Constant predictions and NaN tell nothing; the score is 0.0, by convention, never NaN."""
    assert spearman(np.array([1.0, 2.0, 3.0]), np.array(predictions)) == 0.0


def test_spearman_of_a_constant_truth_is_zero():
    assert spearman(np.array([1.0, 1.0, 1.0]), np.array([1.0, 2.0, 3.0])) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("score", [accuracy, macro_f1])
def test_a_score_of_600_rows_takes_less_than_100_microseconds(score):
    """A bootstrap asks thousands of times. The best of five rounds: the machine is shared."""
    rng = np.random.default_rng(0)
    truth, predictions = rng.integers(0, 3, size=(2, 600))

    best = min(timeit.repeat(lambda: score(truth, predictions), number=200, repeat=5)) / 200

    assert best < 100e-6


def test_every_metric_is_listed_under_its_own_name():
    assert list(METRICS) == list(get_args(Metric))
    assert all(scorer.name == name for name, scorer in METRICS.items())


def test_every_kind_of_task_has_a_default():
    assert {kind: metric_for(kind) for kind in get_args(TaskKind)} == {
        "classification": "accuracy",
        "regression": "spearman",
        "tokens": "token_accuracy",
        "causal_lm": "log_likelihood",
        "seq2seq": "log_likelihood",
        "image": "accuracy",
    }


# Two sentences of 4 and 6 words with 1 and 2 entities; right words, right and predicted entities.
SENTENCES = np.array([[4, 1], [6, 2]]), np.array([[4, 1, 1], [1, 1, 3]])


def test_words_weigh_the_same_in_sentences_of_every_length():
    assert token_accuracy(*SENTENCES) == pytest.approx(5 / 10)


def test_the_f1_of_entities_is_that_of_all_sentences_together():
    """Precision is 2 of 4, recall 2 of 3."""
    assert entity_f1(*SENTENCES) == pytest.approx(2 / (4 / 2 + 3 / 2))


def test_without_any_entities_their_f1_is_zero():
    assert entity_f1(np.array([[4, 0]]), np.array([[4, 0, 0]])) == 0.0


def test_tokens_weigh_the_same_in_examples_of_every_length():
    """So that the perplexity is that of the text, as it is usually stated."""
    predictions = np.array([[-1.0, 1, 0], [-9.0, 9, 1]])

    assert log_likelihood(np.zeros(2), predictions) == -1.0
    assert exact_match(np.zeros(2), predictions) == 0.5


def test_examples_without_a_token_have_no_likelihood():
    assert log_likelihood(np.zeros(1), np.zeros((1, 3))) == 0.0


def test_a_metric_that_fits_is_kept():
    assert metric_for("classification", "macro_f1") == "macro_f1"


@pytest.mark.parametrize(
    ("kind", "name", "allowed"),
    [
        ("regression", "accuracy", "use spearman"),
        ("classification", "spearman", "use accuracy or macro_f1"),
        ("tokens", "accuracy", "use token_accuracy or entity_f1"),
        ("causal_lm", "accuracy", "use log_likelihood or exact_match"),
        ("classification", "f1", "use accuracy or macro_f1"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused_with_those_that_do(kind, name, allowed):
    with pytest.raises(OptionError, match=f"metric '{name}' does not fit {kind}: {allowed}"):
        metric_for(kind, name)
