"""LoRA's linear map with a ratio for each output, in Triton's interpreter, against the definition.

The ratio is DoRA's. Operands are those of ``test_lora_linear.py``, the ratio last.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.kernels.forms import using
from autopeft.kernels.lora_linear import naive, registered
from autopeft.kernels.lora_linear.operator import lora_linear, row_norms
from tests.kernels.interpreted.test_lora_linear import (
    DTYPES,
    NAMES,
    SHAPES,
    check,
    kept,
    operands,
    outcomes,
)

ALL = (*NAMES, "ratio")


def with_ratio(shape, dtype, *, seed=0):
    """Return operands with a ratio in single precision: around one, a zero and one below it."""
    ratio = 1 + 0.3 * torch.randn(shape[2], generator=torch.Generator().manual_seed(seed))
    ratio[:2] = torch.tensor([0.0, -0.5])[: shape[2]]
    return [*operands(shape, dtype, seed=seed), ratio]


def in_triton(x, weight, bias, down, up, residual, ratio, **more):
    with using("triton"):
        return lora_linear(
            x, weight, bias, down, up, 0.7, ratio_O=ratio, residual_O=residual, **more
        )  # fmt: skip


def by_definition(x, weight, bias, down, up, residual, ratio, kept=None):
    return naive.lora_linear(
        x, weight, bias, down, up, 0.7, kept_I=kept, ratio_O=ratio, residual_O=residual
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_and_its_gradients_are_the_definitions(close, shape, dtype):
    """Large ranks too, which are not made in the same pass; the ratio's gradient is exact."""
    given = with_ratio(shape, dtype)

    check(close, in_triton, by_definition, given, dtype, ALL)

    found = outcomes(in_triton, given, torch.ones_like(given[5]))
    assert [one.dtype for one in found] == [dtype] * 7 + [torch.float32]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_ratio_may_be_as_coarse_as_the_rest(close, dtype):
    *rest, ratio = with_ratio(SHAPES[0], dtype)

    check(close, in_triton, by_definition, [*rest, ratio.to(dtype)], dtype, ALL)


@settings(max_examples=6, deadline=None, derandomize=True, database=None)
@given(
    shape=st.tuples(*(st.integers(0, most) for most in (20, 40, 40, 20))),
    seed=st.integers(0, 2**31),
)
def test_it_takes_any_sizes(shape, seed):
    """Zero as well: no rows, no inputs, no outputs, no rank."""
    given = with_ratio(shape, torch.float32, seed=seed)
    ones = torch.ones(shape[0], shape[2])

    found = outcomes(in_triton, given, ones)

    expected = outcomes(by_definition, [each.double() for each in given], ones)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[3]])
def test_what_is_dropped_is_dropped_in_front_of_the_product_alone(close, shape):
    mask = kept(shape, 0.4, 11)

    check(
        close,
        lambda *given: in_triton(*given, dropout=0.4, seed=11),
        lambda *given: by_definition(*given, kept=mask.to(given[0].dtype)),
        with_ratio(shape, torch.float32),
        torch.float32,
        ALL,
    )


def test_many_rows_are_summed_in_parts(close):
    check(close, in_triton, by_definition, with_ratio((1100, 20, 18, 3), torch.float32),
          torch.float32, ALL)  # fmt: skip


def test_strides_may_be_any(close):
    """A ratio cut from a longer one, and one that is a single number; one gradient for all."""
    x, weight, bias, down, up, residual, _ = with_ratio((15, 33, 20, 4), torch.float32)
    for ratio in (torch.linspace(-1, 2, 40)[::2], torch.tensor([1.5]).expand(20)):
        given = [x.view(3, 5, 33), weight, bias, down, up, residual.view(3, 5, 20), ratio]
        check(close, in_triton, by_definition, given, torch.float32, ALL)


@pytest.mark.parametrize("trained", [(0, 3, 4), (2,), (6,), (4, 5, 6)])
def test_each_gradient_is_right_without_the_others(trained):
    given = with_ratio((21, 33, 20, 3), torch.float32)
    grads = []
    for function in (in_triton, by_definition):
        leaves = [x.clone().requires_grad_(place in trained) for place, x in enumerate(given)]
        function(*leaves).square().sum().backward()
        grads.append([leaf.grad for leaf in leaves])

    for place, (found, expected) in enumerate(zip(*grads, strict=True)):
        assert (found is not None) == (place in trained)
        if found is not None:
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("trained", "kept_for_backward"), [((6,), True), ((0, 3, 4), False)])
def test_outputs_before_the_ratio_are_kept_where_it_is_trained(trained, kept_for_backward):
    given = with_ratio((21, 33, 20, 3), torch.float32)
    leaves = [x.requires_grad_(place in trained) for place, x in enumerate(given)]
    shapes = []

    def pack(tensor):
        shapes.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        in_triton(*leaves)

    assert ((21, 20) in shapes) is kept_for_backward


def test_torch_takes_it_for_one_of_its_own():
    """Schema, fake tensors and autograd registration, with the ratio's gradient and without."""
    given = with_ratio((5, 7, 6, 2), torch.float32)
    for trained in ((0, 3, 4, 6), (4,)):
        x, weight, bias, down, up, residual, ratio = (
            operand.clone().requires_grad_(place in trained)
            for place, operand in enumerate(given)
        )  # fmt: skip
        torch.library.opcheck(
            registered.lora_linear,
            (x, weight, bias, down, up, ratio, residual, 0.7, 0.1, 3, 6 in trained),
        )


def test_it_compiles_whole():
    given = with_ratio((5, 7, 6, 2), torch.float32)

    def linear(x, weight, bias, down, up, residual, ratio):
        return lora_linear(x, weight, bias, down, up, 0.7, ratio_O=ratio, residual_O=residual)

    compiled = torch.compile(linear, fullgraph=True, backend="aot_eager")

    with using("triton"):
        found, expected = (outcomes(f, given, torch.ones(5, 6)) for f in (compiled, linear))

    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_with_norms_of_its_rows_it_is_dora(close):
    """Magnitude and norms, these without a gradient: Liu et al. 2024, eq. 5 and section 4.3."""
    *given, _ = with_ratio((21, 33, 20, 3), torch.float32)
    given[5] = 1 + given[5][0].abs()

    def in_kernels(x, weight, bias, down, up, magnitude):
        with using("triton"):
            ratio = magnitude / row_norms(weight, down, up, 0.7)
            return lora_linear(x, weight, bias, down, up, 0.7, ratio_O=ratio)

    def by_the_paper(x, weight, bias, down, up, magnitude):
        whole = weight + 0.7 * up.T @ down
        return x @ (magnitude / whole.norm(dim=1).detach() * whole.T) + bias

    names = (*NAMES[:5], "magnitude")
    check(close, in_kernels, by_the_paper, given, torch.float32, names)
