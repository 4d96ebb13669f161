"""Frozen random matrices that can always be drawn again."""

import pytest
import torch

from autopeft.methods.projections import uniform


def test_the_same_key_gives_the_same_numbers_for_ever():
    """These are written down, because checkpoints depend on them."""
    found = uniform(2, 3, 1.0, "vera", "down")

    expected = torch.tensor(
        [
            [0.10828804969787598, 0.4625362157821655, 0.1505364179611206],
            [0.9709877967834473, -0.35826873779296875, -0.46876633167266846],
        ]
    )
    assert torch.equal(found, expected)


def test_another_key_or_width_gives_other_numbers():
    one = uniform(4, 6, 1.0, "a", 0, "ffn.input")

    assert not torch.equal(one, uniform(4, 6, 1.0, "a", 1, "ffn.input"))
    assert not torch.equal(one, uniform(4, 6, 1.0, "a", 0, "ffn.output"))
    assert not torch.equal(one[:, :5], uniform(4, 5, 1.0, "a", 0, "ffn.input"))


def test_fewer_rows_are_the_beginning_of_more():
    assert torch.equal(uniform(3, 7, 0.5, "a"), uniform(9, 7, 0.5, "a")[:3])


@pytest.mark.parametrize("bound", [0.1, 2.0])
def test_they_are_spread_evenly_up_to_the_bound(bound):
    """Mean and variance, bound² / 3, within four standard errors of 10 000 draws."""
    found = uniform(100, 100, bound, "spread")

    assert found.dtype is torch.float32
    assert 0.99 * bound < found.abs().max() <= bound
    assert found.mean().abs() < 4 * bound / 3**0.5 / 100
    assert found.var().item() == pytest.approx(bound**2 / 3, rel=0.04)
