"""One map for many adapters: each segment is LoRA's linear map with its own factors."""

import pytest
import torch

from autopeft.errors import KernelError
from autopeft.kernels.forms import using
from autopeft.kernels.grouped_lora_linear import naive
from autopeft.kernels.grouped_lora_linear.eager import grouped_lora_linear as eager
from autopeft.kernels.grouped_lora_linear.operator import grouped_lora_linear
from autopeft.kernels.lora_linear.operator import lora_linear

SCALES = (0.7, 1.0, 3.0, 0.2)
# Ranks and rows: no product, no rows, a rank above both widths, one row, one segment.
CASES = [
    (33, 20, (1, 0, 5), (7, 40, 16)),
    (17, 31, (40, 3, 16, 0), (1, 20, 0, 9)),
    (8, 8, (4,), (5,)),
    (8, 8, (0, 0), (2, 3)),
]


def operands(case, dtype=torch.float32):
    """Return x, weight, bias and the factors, then what divides them."""
    I, O, ranks, rows = case  # noqa: E741  # axes
    generator = torch.Generator().manual_seed(0)
    sizes = (sum(rows), I), (O, I), (O,), (sum(ranks), I), (sum(ranks), O)
    return [
        torch.randn(*size, generator=generator, dtype=torch.float64).to(dtype) for size in sizes
    ]


def outcomes(function, given, case, trained=range(5)):
    """Return the output, and the gradients of what is trained."""
    _, _, ranks, rows = case
    leaves = [x.detach().requires_grad_(place in trained) for place, x in enumerate(given)]
    y = function(*leaves, SCALES[: len(rows)], ranks, rows)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(9))
    (y.to(weights.dtype) * weights).sum().backward()
    return [y.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize("form", ["naive", "eager"])
@pytest.mark.parametrize("case", CASES)
def test_each_segment_is_the_map_of_its_own_adapter(case, form):
    """One call for each in double precision; rank 0 has the frozen map alone."""
    x, weight, bias, down, up = given = operands(case)
    _, _, ranks, rows = case
    with using(form):
        found = grouped_lora_linear(*given, SCALES[: len(rows)], ranks, rows)

    row = rank = 0
    for scale, height, width in zip(SCALES, ranks, rows, strict=False):
        part, own = slice(row, row + width), slice(rank, rank + height)
        expected = x[part].double() @ weight.double().T + bias.double()
        expected += scale * x[part].double() @ down[own].double().T @ up[own].double()
        torch.testing.assert_close(found[part].double(), expected, rtol=1e-4, atol=1e-4)
        row, rank = row + width, rank + height
    assert row == len(found)


@pytest.mark.parametrize("form", ["naive", "eager"])
@pytest.mark.parametrize("case", CASES)
def test_each_form_and_its_gradients_agree_with_the_definition(case, form):
    given = operands(case)
    with using(form):
        found = outcomes(grouped_lora_linear, given, case)

    doubles = [operand.double() for operand in given]
    expected = outcomes(naive.grouped_lora_linear, doubles, case)

    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("function", [naive.grouped_lora_linear, eager])
def test_the_gradients_are_those_of_finite_differences(function):
    case = (5, 4, (2, 0, 1), (2, 1, 3))
    given = [operand.requires_grad_() for operand in operands(case, torch.float64)]

    assert torch.autograd.gradcheck(
        lambda *leaves: function(*leaves, SCALES[:3], case[2], case[3]), given
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_within_its_rounding(dtype):
    """Factors stay in single precision, and so do their gradients."""
    case = CASES[0]
    given = operands(case, dtype)
    given[3:] = [factor.float() for factor in given[3:]]

    found = outcomes(grouped_lora_linear, given, case)

    doubles = [operand.double() for operand in given]
    expected = outcomes(naive.grouped_lora_linear, doubles, case)
    assert found[4].dtype == found[5].dtype == torch.float32
    for one, other in zip(found, expected, strict=True):
        share = 0.02 if dtype is torch.bfloat16 else 0.003
        atol = share * other.abs().max().item()
        torch.testing.assert_close(one.double(), other, rtol=0, atol=atol)


def test_autocast_halves_the_map_and_not_the_gradients():
    case = CASES[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = outcomes(grouped_lora_linear, operands(case), case)

    assert found[0].dtype is torch.bfloat16
    assert {gradient.dtype for gradient in found[1:]} == {torch.float32}


def test_a_segment_gets_what_it_gets_alone():
    """Who is beside it makes no difference to its gradients, but for the order of sums."""
    case = (33, 20, (2, 5), (16, 48))
    x, weight, bias, down, up = given = operands(case)
    _, _, _, _, g_down, g_up = outcomes(grouped_lora_linear, given, case)
    weights = torch.randn(64, 20, generator=torch.Generator().manual_seed(9))

    own = [down[2:].clone().requires_grad_(), up[2:].clone().requires_grad_()]
    (lora_linear(x[16:], weight, bias, *own, 1.0) * weights[16:]).sum().backward()

    torch.testing.assert_close(g_down[2:], own[0].grad, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(g_up[2:], own[1].grad, rtol=1e-6, atol=1e-6)


def test_an_adapter_without_rows_has_no_gradient_but_zero():
    given, case = operands(CASES[1]), CASES[1]

    *_, g_down, g_up = outcomes(grouped_lora_linear, given, case)

    assert g_down[43:59].abs().max() == g_up[43:59].abs().max() == 0
    assert g_down[:43].abs().max() > 0


X = (63, 33)
KEPT = [((0, 3, 4), {X, (7, 1)}), ((0, 4), {(7, 1)}), ((0, 3), {X}), ((0,), set()), ((1,), {X})]


@pytest.mark.parametrize(("trained", "expected"), KEPT)
def test_only_what_a_gradient_needs_is_kept(trained, expected):
    given, case = operands(CASES[0]), CASES[0]
    leaves = [x.requires_grad_(place in trained) for place, x in enumerate(given)]
    shapes = set()

    def pack(tensor):
        shapes.add(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        grouped_lora_linear(*leaves, SCALES[:3], case[2], case[3]).sum().backward()

    assert shapes & {X, (7, 1)} == expected
    assert [leaf.grad is not None for leaf in leaves] == [place in trained for place in range(5)]


def test_strides_may_be_any():
    generator = torch.Generator().manual_seed(1)

    def random(*size):
        return torch.randn(*size, generator=generator)

    case = (33, 20, (2, 3), (4, 5))
    given = [
        random(33, 9).T, random(33, 20).T, random(40)[::2], random(9, 66)[:5, ::2],
        random(9, 30)[:5, :20],
    ]  # fmt: skip

    found = outcomes(grouped_lora_linear, given, case)

    for one, other in zip(found, outcomes(naive.grouped_lora_linear, given, case), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


REFUSED = [
    ({"x": torch.ones(3, 21, 33)}, r"takes x of two axes, .* not of shape \(3, 21, 33\): flatten"),
    ({"scales": (1.0,)}, r"a scale, a rank and a number of rows for each .* not 1, 3 and 3"),
    ({"scales": (), "ranks": (), "rows": ()}, r"of which there is at least one: not 0, 0 and 0"),
    ({"ranks": (1, 0, 4)}, r"divides the 6 rows of down .*: ranks of \[1, 0, 4\] do not add up"),
    ({"rows": (70, -10, 3)}, r"divides the 63 rows of x .*: rows of \[70, -10, 3\] do not add up"),
    ({"up": torch.ones(5, 20)}, r"grouped_lora_linear cannot take up of shape \(5, 20\)"),
    ({"x": torch.ones(63, 33).int()}, r"grouped_lora_linear cannot take x in torch.int32"),
    ({"x": torch.ones(63, 33).half()}, r"needs x and weight in one precision, not torch.float16"),
]


@pytest.mark.parametrize(("changes", "match"), REFUSED)
def test_what_does_not_fit_is_refused(changes, match):
    _, _, ranks, rows = CASES[0]
    names = ("x", "weight", "bias", "down", "up", "scales", "ranks", "rows")
    given = dict(zip(names, (*operands(CASES[0]), SCALES[:3], ranks, rows), strict=True))

    with pytest.raises(KernelError, match=match):
        grouped_lora_linear(*(given | changes).values())
