"""What a step has not sampled does not move by a bit; what it has moves as torch moves it."""

import pytest
import torch
from torch import nn

from autopeft.supernet.elastic import View
from autopeft.supernet.optimizer import Gradients, MaskedAdamW

DECAY = 0.1
PARTS = ("first", "second", "steps")


def view(whole, *widths, seed=0, name="w"):
    """Return a view of a corner with a random gradient."""
    leaf = nn.Parameter(torch.zeros(widths))
    leaf.data = whole[tuple(slice(0, width) for width in widths)]
    leaf.grad = torch.randn(widths, generator=torch.Generator().manual_seed(seed))
    return View(name=name, method="lora", leaf=leaf, whole=whole)


def gradients(*views, weight=1.0):
    found = Gradients()
    for one in views:
        found.add([one], weight)
    return found


def optimizer(rate=0.1):
    return MaskedAdamW({"lora": rate}, DECAY)


def test_rows_that_were_not_sampled_do_not_move_and_neither_do_their_moments():
    """Whatever momentum and weight decay would do to them."""
    whole = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    adam = optimizer()
    adam.step(gradients(view(whole, 4, 3)), 1.0)
    weights = whole.clone()
    before = {
        part: getattr(adam.moments["w"], part).clone() for part in ("first", "second", "steps")
    }

    adam.step(gradients(view(whole, 2, 3, seed=1)), 1.0)

    assert torch.equal(whole[2:], weights[2:])
    assert (whole[:2] != weights[:2]).all()
    for part, value in before.items():
        now = getattr(adam.moments["w"], part)
        assert torch.equal(now[2:], value[2:])
        assert (now[:2] != value[:2]).all()


def test_tensors_that_took_no_part_are_left_alone():
    whole, other = torch.ones(2, 2), torch.ones(2, 2)
    adam = optimizer()
    adam.step(gradients(view(whole, 2, 2), view(other, 2, 2, name="other")), 1.0)
    before = other.clone()

    adam.step(gradients(view(whole, 2, 2)), 1.0)

    assert torch.equal(other, before)


@pytest.mark.parametrize("shape", [(4, 3), (5,), (2, 3, 4)])
def test_what_is_always_sampled_moves_as_with_torch(shape):
    whole = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    reference = nn.Parameter(whole.clone())
    theirs = torch.optim.AdamW([reference], lr=0.1, weight_decay=DECAY)
    ours = optimizer(rate=0.2)

    for step in range(20):
        drawn = view(whole, *shape, seed=step)
        reference.grad = drawn.leaf.grad.clone()
        theirs.step()
        ours.step(gradients(drawn), 0.5)

    torch.testing.assert_close(whole, reference.detach(), rtol=1e-5, atol=1e-6)


def test_rows_that_are_sampled_seldom_move_as_if_they_were_alone():
    """Their bias correction counts their own steps."""
    whole = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    reference = nn.Parameter(whole[2:].clone())
    theirs = torch.optim.AdamW([reference], lr=0.1, weight_decay=DECAY)
    ours = optimizer()

    for step in range(12):
        drawn = view(whole, 4 if step % 3 == 0 else 2, 3, seed=step)
        if step % 3 == 0:
            reference.grad = drawn.leaf.grad[2:].clone()
            theirs.step()
        ours.step(gradients(drawn), 1.0)

    torch.testing.assert_close(whole[2:], reference.detach(), rtol=1e-5, atol=1e-6)


def test_a_corner_counts_the_steps_of_each_of_its_elements():
    whole = torch.ones(3, 3)
    adam = optimizer()
    adam.step(gradients(view(whole, 3, 3)), 1.0)
    before = whole.clone()

    adam.step(gradients(view(whole, 2, 2)), 1.0)

    outside = torch.ones(3, 3, dtype=torch.bool)
    outside[:2, :2] = False
    assert torch.equal(whole[outside], before[outside])
    assert adam.moments["w"].steps.tolist() == [[2, 2, 1], [2, 2, 1], [1, 1, 1]]


def test_gradients_of_several_sizes_are_added_where_each_of_them_is():
    whole = torch.zeros(3, 2)
    small, large = view(whole, 1, 2, seed=1), view(whole, 3, 2, seed=2)
    one, other = small.leaf.grad.clone(), large.leaf.grad.clone()

    found = gradients(small, large, weight=0.5).sums["w"]

    torch.testing.assert_close(found[:1], (one + other[:1]) / 2)
    torch.testing.assert_close(found[1:], other[1:] / 2)
    assert small.leaf.grad is None
