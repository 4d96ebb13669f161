"""Which examples inherited scores are made of; the scores are in tests/evaluators."""

import numpy as np

from autopeft.supernet.scoring import affordable, some

LENGTHS = np.array([5, 3, 9, 1, 7, 2, 8, 4])


def test_a_score_costs_a_twentieth_of_a_training():
    """640 examples, three epochs, three forward passes a step: 5,760 of them, and 288."""
    assert affordable(640, 3) == 288


def test_below_64_examples_a_score_would_say_little():
    assert affordable(48, 4) == 64


def test_the_examples_are_drawn_once_and_batched_by_length():
    drawn = some(LENGTHS, 5, seed=0)

    assert len(set(drawn.tolist())) == 5
    assert LENGTHS[drawn].tolist() == sorted(LENGTHS[drawn].tolist())
    assert (some(LENGTHS, 5, seed=0) == drawn).all()
    assert set(some(LENGTHS, 5, seed=1).tolist()) != set(drawn.tolist())


def test_where_there_are_fewer_all_are_taken():
    assert LENGTHS[some(LENGTHS, 64, seed=0)].tolist() == sorted(LENGTHS.tolist())
