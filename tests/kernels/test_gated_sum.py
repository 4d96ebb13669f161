"""Gated sums: the definition by hand, its gradients, and what is refused."""

import pytest
import torch

from autopeft.errors import KernelError
from autopeft.kernels.gated_sum import naive
from autopeft.kernels.gated_sum.operator import gated_sum


def random(*sizes, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*size, generator=generator, dtype=dtype) for size in sizes]


def test_each_part_is_taken_as_its_gate_says():
    """One gate for a text of two tokens, and one for each of them."""
    base, one, two = torch.ones(1, 2, 1), torch.full((1, 2, 1), 2.0), torch.full((1, 2, 1), 10.0)
    gates = torch.tensor([[0.5]]), torch.tensor([[0.1, 0.9]])

    found = gated_sum(base, [one, two], gates)

    assert found.flatten().tolist() == [1 + 1 + 1, 1 + 1 + 9]


def test_nothing_beside_the_base_leaves_the_base():
    (base,) = random((2, 3, 4))

    torch.testing.assert_close(gated_sum(base, [], []), base)


def test_a_base_of_one_axis_has_gates_without_any():
    found = gated_sum(torch.ones(3), [torch.ones(3)], [torch.tensor(0.5)])

    assert found.tolist() == [1.5] * 3


def test_gradients_are_those_of_finite_differences():
    leaves = random((2, 3, 4), (2, 3, 4), (2, 3, 4), (2, 1), (2, 3), dtype=torch.float64)

    assert torch.autograd.gradcheck(
        lambda base, one, two, *gates: naive.gated_sum(base, [one, two], gates),
        [leaf.requires_grad_() for leaf in leaves],
    )


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_gates_may_be_of_single_precision(half):
    """The sum is in the type of the base, and rounded once; gates have gradients of their own."""
    base, delta, gate = random((2, 3, 4), (2, 3, 4), (2, 1))
    base, delta, gate = base.to(half), delta.to(half), gate.requires_grad_()

    found = gated_sum(base, [delta], [gate])
    found.sum().backward()

    exact = base.double() + gate[..., None].double() * delta.double()
    assert found.dtype is half
    torch.testing.assert_close(found, exact.to(half), rtol=0, atol=0)
    assert gate.grad.dtype is torch.float32
    torch.testing.assert_close(gate.grad, delta.float().sum((1, 2))[:, None])


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
def test_what_is_empty_gives_an_empty_sum(shape):
    base, delta, gate = (leaf.requires_grad_() for leaf in random(shape, shape, (shape[0], 1)))
    found = gated_sum(base, [delta], [gate])
    found.sum().backward()

    assert found.shape == shape
    assert not gate.grad.any()


def test_parts_without_gates_are_refused():
    base, delta = random((2, 3, 4), (2, 3, 4))

    with pytest.raises(KernelError, match="needs a gate for each delta, not 0 for 1"):
        gated_sum(base, [delta], [])


def test_a_part_of_another_shape_is_refused():
    base, delta, gate = random((2, 3, 4), (3, 4), (2, 3))

    with pytest.raises(
        KernelError, match=r"needs delta 0 in the shape of the base, \(2, 3, 4\), not \(3, 4\)"
    ):
        gated_sum(base, [delta], [gate])


@pytest.mark.parametrize("shape", [(2, 3, 1), (2,), (3, 1), (2, 2)])
def test_a_gate_of_other_axes_is_refused(shape):
    base, delta, gate = random((2, 3, 4), (2, 3, 4), shape)

    with pytest.raises(
        KernelError,
        match=r"needs gate 0 in the leading axes of the base, \(2, 3\), each whole or 1",
    ):
        gated_sum(base, [delta], [gate])


def test_numbers_that_no_kernel_knows_are_refused():
    base, delta, gate = random((2, 3, 4), (2, 3, 4), (2, 3))

    with pytest.raises(KernelError, match=r"gated_sum cannot take gate 0 in torch\.int32"):
        gated_sum(base, [delta], [gate.int()])
