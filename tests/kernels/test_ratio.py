"""LoRA's linear map with a ratio for each output, as DoRA has it: definition and the CPU's way."""

import pytest
import torch

from autopeft.errors import KernelError
from autopeft.kernels.forms import using
from autopeft.kernels.lora_linear import eager, naive
from autopeft.kernels.lora_linear.operator import lora_linear, row_norms
from tests.kernels.test_lora_linear import SHAPES, operands, outcomes

NAMES = ("x", "weight", "bias", "down", "up", "residual", "ratio")


def with_ratio(shape, dtype=torch.float32):
    """Return the operands of a call, the ratio last: around one, a zero and one below it."""
    ratio = 1 + 0.3 * torch.randn(shape[2], generator=torch.Generator().manual_seed(3))
    ratio[:2] = torch.tensor([0.0, -0.5])[: shape[2]]
    return [*operands(shape, dtype), ratio.to(torch.promote_types(dtype, torch.float32))]


def public(x, weight, bias, down, up, residual, ratio, **more):
    return lora_linear(
        x, weight, bias, down, up, 1.7, ratio_O=ratio, residual_O=residual, **more
    )  # fmt: skip


def definition(x, weight, bias, down, up, residual, ratio, **more):
    return naive.lora_linear(
        x, weight, bias, down, up, 1.7, ratio_O=ratio, residual_O=residual, **more
    )  # fmt: skip


def exact(given):
    return [operand.double() for operand in given]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_ratio_multiplies_the_outputs_before_bias_and_residual(shape):
    """Against sums written out by index, in double precision."""
    x, weight, bias, down, up, residual, ratio = with_ratio(shape, torch.float64)
    plain = torch.einsum("bti,oi->bto", x, weight)
    plain += 1.7 * torch.einsum("bti,ri,ro->bto", x, down, up)

    found = naive.lora_linear(x, weight, None, down, up, 1.7, ratio_O=ratio)
    whole = definition(x, weight, bias, down, up, residual, ratio)

    torch.testing.assert_close(found, plain * ratio)
    torch.testing.assert_close(whole, plain * ratio + bias + residual)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("biased", [False, True])
def test_the_gradients_of_the_cpus_way_are_those_of_finite_differences(dropout, biased):
    x, weight, bias, down, up, residual, ratio = with_ratio((3, 5, 4, 2), torch.float64)

    def function(x, weight, down, up, ratio, bias=None):
        return eager.lora_linear(
            x, weight, bias, down, up, 1.7, dropout=dropout, seed=2, ratio_O=ratio,
            residual_O=residual,
        )  # fmt: skip

    given = [x, weight, down, up, ratio, *([bias] if biased else [])]
    assert torch.autograd.gradcheck(function, [leaf.requires_grad_() for leaf in given])


@pytest.mark.parametrize("form", ["naive", "eager"])
@pytest.mark.parametrize("shape", [*SHAPES, (0, 6, 4, 2), (3, 0, 4, 2), (3, 6, 0, 2), (3, 6, 4, 0)])
def test_each_form_and_its_gradients_agree_with_the_definition(shape, form):
    """In double precision, to the rounding of single; an axis may be empty."""
    given = with_ratio(shape)
    with using(form):
        found = outcomes(public, given, range(7))

    expected = outcomes(definition, exact(given), range(7))

    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["naive", "eager"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_within_its_rounding(dtype, form):
    """The ratio stays in single precision, and so does its gradient."""
    given = with_ratio(SHAPES[1], dtype)
    with using(form):
        found = outcomes(public, given, range(7))

    expected = outcomes(definition, exact(given), range(7))

    assert [one.dtype for one in found] == [dtype] * 7 + [torch.float32]
    for what, one, other in zip(("output", *NAMES), found, expected, strict=True):
        atol = (0.02 if dtype is torch.bfloat16 else 0.003) * other.abs().max().item()
        torch.testing.assert_close(one.double(), other, rtol=0, atol=atol, msg=what)


@pytest.mark.parametrize("form", ["naive", "eager"])
def test_a_ratio_close_to_one_is_not_rounded_to_it(form):
    """In bf16 1.003 is 1, but 400 times as much as that is 402 there, and not 400."""
    x, weight = torch.full((1, 1), 400.0).bfloat16(), torch.eye(1).bfloat16()
    nothing = torch.zeros(1, 1)

    with using(form):
        found = lora_linear(x, weight, None, nothing, nothing, 1.0, ratio_O=torch.tensor([1.003]))

    assert found.item() == torch.tensor(401.2).bfloat16().item() > 400


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_ratio_of_one_changes_no_bit_on_a_cpu(dtype):
    """DoRA begins as what it is put around, and all other methods do so to the bit."""
    *given, ratio = with_ratio(SHAPES[1], dtype)
    *four, up, residual = given

    found = public(*four, 0 * up, residual, torch.ones_like(ratio))

    assert torch.equal(found, lora_linear(*four, 0 * up, 1.7, residual_O=residual))


def test_autocast_leaves_the_ratio_as_exact_as_it_is():
    given = with_ratio(SHAPES[1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = outcomes(public, given, range(7))

    expected = outcomes(definition, given, range(7))

    assert found[0].dtype is torch.bfloat16
    assert found[7].dtype is torch.float32
    for one, other in zip(found, expected, strict=True):
        atol = 0.02 * other.abs().max().item()
        torch.testing.assert_close(one.float(), other, rtol=0, atol=atol)


def test_strides_may_be_any():
    """A ratio cut from a longer one, another that is one number, an output that is turned."""
    x, weight, bias, down, up, residual, _ = with_ratio((7, 33, 20, 3))
    for ratio in (torch.linspace(-1, 2, 40)[::2], torch.tensor([1.5]).expand(20)):
        given = [x.transpose(0, 1), weight, bias, down, up, residual.transpose(0, 1), ratio]
        expected = outcomes(definition, exact(given), range(7))
        for one, other in zip(outcomes(public, given, range(7)), expected, strict=True):
            torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)


X, ACTIVATION, OUTPUT, RATIO = (21, 33), (21, 3), (21, 20), (20,)
KEPT = [
    ((0, 3, 4, 6), {X, ACTIVATION, OUTPUT, RATIO}),
    ((0, 3, 4), {X, ACTIVATION, RATIO}),
    ((6,), {OUTPUT, RATIO}),
    ((2,), {RATIO}),
]


@pytest.mark.parametrize(("trained", "expected"), KEPT)
def test_outputs_before_the_ratio_are_kept_where_it_is_trained(trained, expected):
    given = [x[0] if x.dim() == 3 else x for x in with_ratio((21, 33, 20, 3))]
    leaves = [x.requires_grad_(place in trained) for place, x in enumerate(given)]
    shapes = set()

    def pack(tensor):
        shapes.add(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        public(*leaves).sum().backward()

    assert shapes & {X, ACTIVATION, OUTPUT, RATIO} == expected
    assert [leaf.grad is not None for leaf in leaves] == [place in trained for place in range(7)]


def test_magnitudes_by_the_norms_give_rows_of_these_lengths():
    """The whole is a matrix whose rows have the magnitudes as norms: Liu et al. 2024, eq. 5."""
    _, weight, _, down, up, _, _ = with_ratio((7, 33, 20, 3))
    magnitude = torch.linspace(0.5, 3, 20)

    ratio = magnitude / row_norms(weight, down, up, 1.7)
    whole = lora_linear(torch.eye(33), weight, None, down, up, 1.7, ratio_O=ratio)

    torch.testing.assert_close(whole.norm(dim=0), magnitude)


REFUSED = [
    (torch.ones(1), r"ratio of shape \(1,\) beside x of shape \(2, 7, 33\), .* needs \(20,\)"),
    (torch.ones(20, 1), r"lora_linear cannot take ratio of shape \(20, 1\) .* it needs \(20,\)"),
    (torch.tensor(1.0), "lora_linear cannot take ratio without axes: it is a single number"),
    (torch.ones(20).int(), r"lora_linear cannot take ratio in torch\.int32: its kernels know"),
    (torch.ones(20, device="meta"), "lora_linear needs all operands on one device: .*ratio on met"),
    (torch.ones(20).to_sparse(), r"lora_linear cannot take ratio in torch\.sparse_coo"),
]


@pytest.mark.parametrize(("ratio", "match"), REFUSED)
def test_a_ratio_that_does_not_fit_is_refused(ratio, match):
    *given, _ = with_ratio((7, 33, 20, 3))

    with pytest.raises(KernelError, match=match):
        public(*given, ratio)
