"""The model of scores: what it learns, and what it weighs."""

import numpy as np
import pytest

from autopeft.search_spaces.configuration import Configuration
from autopeft.strategies.modelling.surrogate import Inputs, Surrogate, shape_of


def inputs(shapes, *, rates=None, short=None, inherited=False) -> Inputs:
    shapes = np.asarray(shapes, dtype=float)
    nothing = np.zeros(len(shapes))
    return Inputs(
        shapes_NS=shapes,
        rates_NR=np.zeros((len(shapes), 1)) if rates is None else np.asarray(rates, dtype=float),
        short_N=nothing if short is None else np.asarray(short, dtype=float),
        inherited_N=np.full(len(shapes), inherited),
        tables_N=np.array([hash(tuple(row)) for row in shapes]),
    )


def curve(x):
    return 0.8 + 0.05 * np.sin(3 * x[:, 0]) - 0.04 * x[:, 1] ** 2


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_it_predicts_what_it_was_not_told(rng):
    known, asked = rng.random((30, 2)), rng.random((40, 2))

    mean, deviation = Surrogate(inputs(known), curve(known)).predict(inputs(asked))

    truth = curve(asked)
    assert np.abs(mean - truth).mean() < 0.2 * truth.std()
    assert (np.abs(mean - truth) < 4 * deviation + 0.002).all()


def test_it_is_surest_where_something_was_measured(rng):
    known = rng.random((12, 2))
    model = Surrogate(inputs(known), curve(known))

    _, near = model.predict(inputs(known))
    _, far = model.predict(inputs(known + 5.0))

    assert near.max() < far.min()


def with_inherited(known, scores, others, inherited) -> Surrogate:
    both = inputs(known).and_then(inputs(others, inherited=True))
    return Surrogate(both, [*scores, *inherited])


def test_inherited_scores_tell_of_what_was_never_trained(rng):
    """In other units and with errors, they make up for trainings that were not made."""
    known, others, asked = rng.random((6, 2)), rng.random((60, 2)), rng.random((40, 2))
    inherited = 30 * curve(others) - 7 + 0.2 * rng.standard_normal(60)
    truth = curve(asked)

    told = with_inherited(known, curve(known), others, inherited)
    untold = Surrogate(inputs(known), curve(known))

    off, off_untold = (
        np.abs(model.predict(inputs(asked))[0] - truth).mean() for model in (told, untold)
    )
    assert off < 0.5 * off_untold
    assert told.agreement > 0.8


def test_inherited_scores_count_as_far_as_they_agree(rng):
    """Scores that are noise do little harm, for trainings tell that they are."""
    known, others, asked = rng.random((24, 2)), rng.random((60, 2)), rng.random((40, 2))
    truth = curve(asked)

    told = with_inherited(known, curve(known), others, rng.standard_normal(60))
    untold = Surrogate(inputs(known), curve(known))

    off, off_untold = (
        np.abs(model.predict(inputs(asked))[0] - truth).mean() for model in (told, untold)
    )
    assert told.agreement < 0.8
    assert off < 2 * off_untold + 0.1 * truth.std()


def test_the_best_is_one_that_was_trained():
    """However high an inherited score is, it is no score that has to be beaten."""
    line = np.linspace(0, 1, 9)[:, None]
    model = with_inherited(line[:6], line[:6, 0], line, 100 + line[:, 0])

    gains = model.expected_improvement(inputs(line))

    assert int(np.argmax(gains)) == 8
    assert gains[8] > 0.1


def test_short_trainings_teach_about_whole_ones(rng):
    """Short ones score .1 less in general; six whole ones are enough to learn that."""
    known = rng.random((36, 2))
    short = (np.arange(36) >= 6).astype(float)
    model = Surrogate(inputs(known, short=short), curve(known) - 0.1 * short)

    asked = rng.random((30, 2))
    mean, _ = model.predict(inputs(asked))

    assert np.abs(mean - curve(asked)).mean() < 0.03
    assert np.corrcoef(mean, curve(asked))[0, 1] > 0.9


def test_what_failed_to_learn_does_not_spoil_the_rest(rng):
    known = rng.random((30, 2))
    scores = curve(known)
    scores[:3] = 0.1

    asked = rng.random((30, 2))
    mean, _ = Surrogate(inputs(known), scores).predict(inputs(asked))

    assert np.corrcoef(mean, curve(asked))[0, 1] > 0.6


def test_most_is_expected_where_the_scores_rise():
    line = np.linspace(0, 1, 9)[:, None]
    model = Surrogate(inputs(line[:6]), line[:6, 0])

    gains = model.expected_improvement(inputs(line))

    assert (gains >= 0).all()
    assert int(np.argmax(gains)) in {6, 7, 8}


def test_equal_scores_are_no_reason_to_stop():
    model = Surrogate(inputs(np.eye(4)), [0.5] * 4)

    gains = model.expected_improvement(inputs(np.eye(4)))

    assert np.isfinite(gains).all()


def test_a_table_is_described_by_thirds_of_its_blocks():
    """Six blocks, two columns; log2 of 1 + size, the mean of every two blocks."""
    table = Configuration(((3, 0), (3, 0), (0, 1), (0, 0), (7, 0), (0, 0)))

    assert shape_of(table).tolist() == [2.0, 0.0, 0.0, 0.5, 1.5, 0.0]
    assert len(shape_of(Configuration(((1, 2), (3, 4))))) == 4
