"""Which examples inherited scores are made of; the scores are in tests/evaluators."""

import numpy as np

from autopeft.supernet.scoring import affordable, batched, some

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


def test_batches_are_those_that_take_the_least_time():
    """Three short texts go with one another, and not with one that is long."""
    assert batched(np.array([4, 4, 5, 400])) == [slice(0, 3), slice(3, 4)]
    assert batched(np.array([4, 4, 5, 6])) == [slice(0, 4)]


def test_a_batch_is_bounded_but_holds_one_example_at_least():
    cuts = batched(np.array([1000, 1000, 1000, 5000]))

    assert sorted(cut.stop - cut.start for cut in cuts) == [1, 1, 2]
    assert cuts[-1] == slice(3, 4)
    assert batched(np.array([], dtype=np.int64)) == []


def test_every_example_is_in_one_batch():
    cuts = batched(np.sort(np.random.default_rng(0).integers(1, 300, 500)))

    assert [cut.start for cut in cuts] == [0, *(cut.stop for cut in cuts[:-1])]
    assert cuts[-1].stop == 500
