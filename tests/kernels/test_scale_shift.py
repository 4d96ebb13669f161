"""Scale and shift: the definition by hand, its gradients, and what is refused."""

import pytest
import torch

from autopeft.errors import KernelError
from autopeft.kernels.scale_shift import naive
from autopeft.kernels.scale_shift.operator import scale_shift


def random(*sizes, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*size, generator=generator, dtype=dtype) for size in sizes]


def test_features_are_scaled_and_shifted():
    x, scale, shift = torch.tensor([3.0, 1.0]), torch.tensor([2.0, -1.0]), torch.tensor([0.5, 4.0])

    assert scale_shift(x, scale, shift).tolist() == [6.5, 3.0]
    assert scale_shift(x, scale).tolist() == [6.0, -1.0]


def test_of_a_fused_matrix_only_a_slice_changes():
    found = scale_shift(torch.ones(4), torch.tensor([2.0]), torch.tensor([10.0]), start=1)

    assert found.tolist() == [1.0, 12.0, 1.0, 1.0]


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("start", [0, 2])
def test_gradients_are_those_of_finite_differences(shift, start):
    leaves = random((2, 3, 6), (4,), (4,), dtype=torch.float64)
    leaves = [leaf.requires_grad_() for leaf in leaves[: 2 + shift]]

    assert torch.autograd.gradcheck(lambda *given: naive.scale_shift(*given, start=start), leaves)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_a_factor_close_to_one_is_not_rounded_to_it(half):
    """In half precision the next number is 1.0078 or 1.00098: a factor is not of that type."""
    x = torch.full((1,), 256.0, dtype=half)

    found = scale_shift(x, torch.tensor([1.005]))

    assert found.dtype is half
    assert found.item() == torch.tensor(257.28).to(half).item() > 256


def test_autocast_changes_nothing():
    x, scale, shift = random((3, 4), (4,), (4,))
    with torch.autocast("cpu", torch.bfloat16):
        found = scale_shift(x, scale, shift)

    torch.testing.assert_close(found, x * scale + shift, rtol=1e-6, atol=1e-6)


def test_no_rows_give_no_rows():
    x, scale, shift = (leaf.requires_grad_() for leaf in random((0, 5, 4), (4,), (4,)))
    found = scale_shift(x, scale, shift)
    found.sum().backward()

    assert found.shape == (0, 5, 4)
    assert scale.grad.tolist() == shift.grad.tolist() == [0.0] * 4


@pytest.mark.parametrize(
    ("sizes", "start"), [(((4,),), 2), (((6,),), 0), (((1, 3),), 0), (((3,),), -1)]
)
def test_factors_without_features_are_refused(sizes, start):
    x, scale = random((2, 5), *sizes)

    with pytest.raises(KernelError, match=r"needs one factor a feature, and no more from -?\d on"):
        scale_shift(x, scale, start=start)


def test_a_shift_that_does_not_go_with_the_factors_is_refused():
    x, scale, shift = random((2, 5), (5,), (4,))

    with pytest.raises(KernelError, match=r"of shape \(5,\) like scale, not \(4,\)"):
        scale_shift(x, scale, shift)


def test_numbers_that_no_kernel_knows_are_refused():
    with pytest.raises(KernelError, match=r"scale_shift cannot take x in torch\.int64"):
        scale_shift(torch.ones(2, dtype=torch.int64), torch.ones(2))
