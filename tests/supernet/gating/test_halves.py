"""The training part in two halves."""

import numpy as np
import pytest

from autopeft.supernet.gating.halves import batches, halves
from autopeft.training.batches import Encoded


def part_of(count):
    ids = tuple((number,) * (1 + number % 5) for number in range(count))
    return Encoded(ids=ids, types=None, labels=np.arange(count), padding=0)


@pytest.mark.parametrize("count", [2, 3, 80, 81])
def test_halves_share_nothing_and_miss_nothing(count):
    one, other = halves(part_of(count), np.random.default_rng(0))

    assert sorted([*one.truth, *other.truth]) == list(range(count))
    assert 0 <= len(other) - len(one) <= 1
    assert list(one.lengths) == [1 + number % 5 for number in one.truth]


def test_a_single_example_is_in_both():
    one, other = halves(part_of(1), np.random.default_rng(0))

    assert (len(one), len(other)) == (1, 1)


def test_batches_come_from_their_half_over_and_over():
    one, _ = halves(part_of(40), np.random.default_rng(0))
    stream = batches(one, 8, np.random.default_rng(0))

    epochs = [np.concatenate([next(stream).labels.numpy() for _ in range(3)]) for _ in range(2)]

    for epoch in epochs:
        assert sorted(epoch) == sorted(one.truth)
    assert list(epochs[0]) != list(epochs[1])
