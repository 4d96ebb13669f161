"""Which modules of lanes are computed in one call, and that it gives what they give apart."""

import pytest
import torch
from torch import nn

from autopeft.methods.lora import LoraLinear, LowRank
from autopeft.training.packing.grouped import grouped
from autopeft.training.packing.packed import Division, Packed

ROWS = (2, 1, 3)


@pytest.fixture
def base():
    torch.manual_seed(0)
    return nn.Linear(6, 5).requires_grad_(False)


def with_lora(base, rank, scale=2.0):
    generator = torch.Generator().manual_seed(rank)
    product = LowRank(base.in_features, base.out_features, rank, scale, generator)
    product.up.data.normal_(generator=generator)
    return LoraLinear(base, product)


def packed(lanes, division):
    return Packed(lanes, division, ((True,), {}), True)


def test_lanes_of_any_rank_or_none_give_what_they_give_apart(base):
    """Outputs and gradients, of images or words alike: all but the last axis are rows."""
    lanes = [with_lora(base, 3), base, with_lora(base, 1, scale=0.5)]
    x_BTI = torch.randn(6, 4, 6, requires_grad=True)
    apart = torch.cat([lane(x) for lane, x in zip(lanes, x_BTI.split(ROWS), strict=True)])
    apart.square().sum().backward()
    trained = [p for lane in lanes for p in lane.parameters() if p.requires_grad]
    expected = [x_BTI.grad, *(p.grad for p in trained)]
    for tensor in (x_BTI, *trained):
        tensor.grad = None

    division = Division()
    module = packed(lanes, division)
    with division.of(ROWS):
        found = module(x_BTI)
    found.square().sum().backward()

    assert grouped(lanes) is not None
    torch.testing.assert_close(found, apart)
    torch.testing.assert_close([x_BTI.grad, *(p.grad for p in trained)], expected)


def test_rows_may_be_flattened_with_their_tokens(base):
    division = Division()
    lanes = [with_lora(base, 3), base]
    x_NI = torch.randn(12, 6)

    with division.of((1, 2)):
        found = packed(lanes, division)(x_NI)

    expected = torch.cat([lane(x) for lane, x in zip(lanes, x_NI.split((4, 8)), strict=True)])
    torch.testing.assert_close(found, expected)


def test_what_computes_something_else_stays_apart(base):
    """Another weight, a bias that is trained, a gate, a hook, another kind of module."""
    other, gated, hooked = with_lora(nn.Linear(6, 5), 2), with_lora(base, 2), with_lora(base, 2)
    gated.gate = nn.Identity()
    hooked.register_forward_hook(lambda *_: None)
    trained = nn.Linear(6, 5)
    trained.weight, trained.bias = base.weight, nn.Parameter(base.bias.clone())

    for lane in (other, gated, hooked, trained, nn.Identity()):
        assert grouped([with_lora(base, 2), lane]) is None
    assert grouped([base, base]) is None
