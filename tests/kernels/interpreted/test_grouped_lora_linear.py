"""Segments with a product each in Triton's interpreter: output and gradients as defined."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.kernels.forms import using
from autopeft.kernels.grouped_lora_linear import naive, registered
from autopeft.kernels.grouped_lora_linear.operator import grouped_lora_linear

NAMES = ("output", "x", "weight", "bias", "down", "up")
SCALES = (0.7, 1.0, 3.0, 0.2)
# Ranks and rows: no product, no rows, more rows than a tile has, one row, a rank above what is
# fused; inputs and outputs that are no multiple of a block.
CASES = [
    (33, 20, (1, 0, 5), (7, 40, 16)),
    (17, 63, (70, 3, 16, 0), (1, 66, 0, 9)),
    (40, 31, (16,), (17,)),
]


def operands(case, dtype, *, seed=0):
    I, O, ranks, rows = case  # noqa: E741  # axes
    generator = torch.Generator().manual_seed(seed)
    sizes = (sum(rows), I), (O, I), (O,), (sum(ranks), I), (sum(ranks), O)
    return [torch.randn(*size, generator=generator).to(dtype) for size in sizes]


def outcomes(function, leaves, case, gradient):
    _, _, ranks, rows = case
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    y = function(*leaves, SCALES[: len(rows)], ranks, rows)
    y.backward(gradient.to(y.dtype))
    return [y.detach(), *(leaf.grad for leaf in leaves)]


def in_triton(*given):
    with using("triton"):
        return grouped_lora_linear(*given)


def check(close, given, case, dtype=None):
    _, outputs, _, rows = case
    gradient = torch.randn(sum(rows), outputs, generator=torch.Generator().manual_seed(9)).to(
        given[0]
    )
    found = outcomes(in_triton, given, case, gradient)
    doubles = [operand.double() for operand in given]
    expected = outcomes(naive.grouped_lora_linear, doubles, case, gradient)
    for what, one, other in zip(NAMES, found, expected, strict=True):
        close(one, other, dtype, what)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("case", CASES)
def test_it_and_its_gradients_are_the_definitions(close, case, dtype):
    check(close, operands(case, dtype), case)


def test_factors_may_be_more_exact_than_the_rest(close):
    given = operands(CASES[0], torch.bfloat16)
    given[3:] = [factor.float() for factor in given[3:]]

    check(close, given, CASES[0], torch.bfloat16)


@settings(max_examples=5, deadline=None, derandomize=True, database=None)
@given(
    segments=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=3),
    widths=st.tuples(st.integers(0, 33), st.integers(0, 33)),
    seed=st.integers(0, 2**31),
)
def test_it_takes_any_segments(segments, widths, seed):
    ranks, rows = zip(*segments, strict=True)
    case = (*widths, ranks, rows)
    given = operands(case, torch.float32, seed=seed)
    ones = torch.ones(sum(rows), widths[1])

    found = outcomes(in_triton, given, case, ones)

    doubles = [operand.double() for operand in given]
    expected = outcomes(naive.grouped_lora_linear, doubles, case, ones)
    for what, one, other in zip(NAMES, found, expected, strict=True):
        torch.testing.assert_close(
            one.double(), other, rtol=1e-4, atol=1e-4, msg=lambda text, what=what: what + text
        )


def test_it_takes_any_strides(close):
    """Inputs turned, a weight as GPT-2 stores it, factors cut from larger ones."""
    generator = torch.Generator().manual_seed(1)

    def random(*size):
        return torch.randn(*size, generator=generator)

    case = (33, 20, (2, 3), (4, 5))
    given = [
        random(33, 9).T, random(33, 20).T, random(40)[::2], random(9, 66)[:5, ::2],
        random(9, 30)[:5, :20],
    ]  # fmt: skip

    check(close, given, case)


def test_many_rows_are_summed_in_splits(close):
    """A segment of two splits beside one that has hardly a row for each."""
    case = (20, 18, (3, 2), (1100, 2))

    check(close, operands(case, torch.float32), case)


def test_with_frozen_first_factors_x_is_not_kept():
    case = (33, 20, (2, 3), (14, 5))
    x, weight, bias, down, up = operands(case, torch.float32)
    up.requires_grad_()
    shapes = []

    def pack(tensor):
        shapes.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        in_triton(x, weight, bias, down, up, (1.0, 1.0), (2, 3), (14, 5))

    assert (19, 33) not in shapes
    assert (19, 3) in shapes


def test_torch_takes_it_for_one_of_its_own():
    case = (7, 6, (2, 0, 3), (3, 1, 2))
    given = operands(case, torch.float32)
    numbers = [0.7, 1.0, 2.0], list(case[2]), list(case[3])
    for trained in ((0, 3, 4), (4,)):
        leaves = [x.clone().requires_grad_(place in trained) for place, x in enumerate(given)]
        torch.library.opcheck(registered.grouped_lora_linear, (*leaves, *numbers))
    hidden = torch.zeros(6, 3)
    for x, h in ((given[0], hidden), (None, hidden)):
        torch.library.opcheck(
            registered.grouped_lora_linear_backward,
            (torch.ones(6, 6), x, h, given[1], given[3], given[4], *numbers, True),
        )


def test_it_compiles_whole():
    case = (7, 6, (2, 0, 3), (3, 1, 2))
    given = operands(case, torch.float32)
    compiled = torch.compile(grouped_lora_linear, fullgraph=True, backend="aot_eager")

    with using("triton"):
        found, expected = (
            outcomes(f, given, case, torch.ones(6, 6)) for f in (compiled, grouped_lora_linear)
        )

    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
