"""Products with frozen matrices. Axes: N rows, I inputs, O outputs."""

import pytest
import torch
from torch.nn.functional import linear

from autopeft.kernels.product import frozen_linear, product


def operands(N, I, O, dtype):  # noqa: E741  # the alphabet of axes
    generator = torch.Generator().manual_seed(0)
    shapes = ((N, I), (O, I), (O,))
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("N", "I", "O"), [(64, 48, 32), (7, 33, 17), (1, 5, 1), (0, 4, 3)])
def test_a_product_is_that_of_torch_bit_for_bit(N, I, O, dtype):  # noqa: E741  # as above
    """So that nobody's results depend on which of the two a machine has."""
    x_NI, weight_OI, bias_O = operands(N, I, O, dtype)

    assert torch.equal(product(x_NI, weight_OI, bias_O), linear(x_NI, weight_OI, bias_O))
    assert torch.equal(product(x_NI, weight_OI, None), linear(x_NI, weight_OI))


def test_a_matrix_may_be_stored_inputs_first():
    x_NI, weight_OI, bias_O = operands(7, 33, 17, torch.bfloat16)
    turned_OI = weight_OI.T.contiguous().T

    assert torch.equal(product(x_NI, turned_OI, bias_O), product(x_NI, weight_OI, bias_O))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("operand", ["x", "weight", "bias"])
@pytest.mark.parametrize("stored", ["apart", "cut", "expanded"])
def test_strides_may_be_any(stored, operand, dtype):
    """Every second number, a part of a larger tensor, and one number for all."""
    given = dict(zip(("x", "weight", "bias"), operands(7, 33, 17, dtype), strict=True))
    whole = given[operand].repeat_interleave(2, -1)
    width = whole.shape[-1] // 2
    given[operand] = {
        "apart": whole[..., ::2],
        "cut": whole[..., 3 : 3 + width],
        "expanded": whole[..., :1].expand(*whole.shape[:-1], width),
    }[stored]

    found = product(*given.values())

    expected = product(*(tensor.contiguous() for tensor in given.values()))
    known = linear(*(tensor.double() for tensor in given.values()))
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02 * known.abs().max().item())
    torch.testing.assert_close(found.double(), known, rtol=0, atol=0.02 * known.abs().max().item())


@pytest.mark.parametrize("leading", [(7,), (2, 3), (2, 1, 4)])
def test_the_input_gets_the_gradient_of_a_linear_map(leading):
    _, weight_OI, bias_O = operands(7, 33, 17, torch.bfloat16)
    found_I, known_I = (
        torch.randn(*leading, 33, generator=torch.Generator().manual_seed(1))
        .bfloat16()
        .requires_grad_()
        for _ in range(2)
    )
    weights_O = torch.randn(17, generator=torch.Generator().manual_seed(2)).bfloat16()

    (frozen_linear(found_I, weight_OI, bias_O) * weights_O).sum().backward()
    (linear(known_I, weight_OI, bias_O) * weights_O).sum().backward()

    assert torch.equal(found_I.grad, known_I.grad)


def test_only_the_matrix_is_kept_for_the_backward():
    x_NI, weight_OI, bias_O = operands(7, 33, 17, torch.bfloat16)
    kept = []

    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda t: t):
        frozen_linear(x_NI.requires_grad_(), weight_OI, bias_O)

    assert [tensor.data_ptr() for tensor in kept] == [weight_OI.data_ptr()]


def test_an_input_in_single_precision_is_brought_into_that_of_the_matrix():
    x_NI, weight_OI, bias_O = operands(7, 33, 17, torch.bfloat16)
    single_NI = x_NI.float().requires_grad_()

    y_NO = frozen_linear(single_NI, weight_OI, bias_O)
    y_NO.sum().backward()

    assert torch.equal(y_NO, linear(x_NI, weight_OI, bias_O))
    assert single_NI.grad.dtype is torch.float32
