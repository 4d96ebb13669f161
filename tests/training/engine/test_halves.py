import gc
import weakref

import torch
from torch import nn

from autopeft.training.engine.halves import half_of, halves_in


def frozen(*shape):
    return nn.Parameter(torch.randn(*shape), requires_grad=False)


def test_a_copy_is_made_once():
    weight = frozen(3, 4)

    assert half_of(weight) is half_of(weight)
    assert torch.equal(half_of(weight), weight.bfloat16())
    assert not half_of(weight).requires_grad


def test_it_is_made_anew_when_its_weights_have_changed():
    """As merging changes them, in place and through a view."""
    weight = frozen(3, 4)
    half_of(weight)

    view = weight.detach()[1:]
    view += 1.0

    assert torch.equal(half_of(weight), weight.bfloat16())


def test_it_is_made_anew_when_its_weights_lie_elsewhere():
    weight = frozen(3, 4)
    half_of(weight)

    weight.data = torch.ones(3, 4)

    assert torch.equal(half_of(weight), torch.ones(3, 4, dtype=torch.bfloat16))


def test_one_made_while_predicting_can_be_trained_with():
    weight, x = frozen(3, 4), torch.randn(2, 4, dtype=torch.bfloat16, requires_grad=True)

    with torch.inference_mode():
        half = half_of(weight)
    (x @ half.T).sum().backward()

    assert x.grad is not None


def test_the_copies_of_a_model_can_be_listed():
    layer = nn.Linear(4, 3).requires_grad_(requires_grad=False)
    half = half_of(layer.weight)

    assert [id(found) for found in halves_in(layer)] == [id(half)]


def test_it_goes_with_its_weights():
    weight = frozen(3, 4)
    copy = weakref.ref(half_of(weight))
    assert copy() is not None

    del weight
    gc.collect()

    assert copy() is None
