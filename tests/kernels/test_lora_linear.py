import pytest
import torch

from autopeft.kernels.lora_linear.naive import lora_linear


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("T", "I", "O", "R"), [(7, 33, 20, 1), (63, 48, 31, 5), (64, 64, 64, 16)])
def test_it_is_the_frozen_map_plus_the_scaled_product(T, I, O, R, biased):  # noqa: E741  # axes
    """Against sums written out by index, in double precision."""
    generator = torch.Generator().manual_seed(0)
    x, weight, down, up = (
        torch.randn(*size, generator=generator, dtype=torch.float64)
        for size in ((2, T, I), (O, I), (R, I), (R, O))
    )
    bias = torch.randn(O, generator=generator, dtype=torch.float64) if biased else None

    found = lora_linear(x, weight, bias, down, up, 1.7)

    expected = torch.einsum("bti,oi->bto", x, weight)
    expected += 1.7 * torch.einsum("bti,ri,ro->bto", x, down, up)
    torch.testing.assert_close(found, expected if bias is None else expected + bias)


def test_its_gradients_are_those_of_finite_differences():
    generator = torch.Generator().manual_seed(0)
    operands = [
        torch.randn(*size, generator=generator, dtype=torch.float64, requires_grad=True)
        for size in ((2, 3, 5), (4, 5), (4,), (2, 5), (2, 4))
    ]

    assert torch.autograd.gradcheck(lambda *given: lora_linear(*given, 1.7), operands)


def test_a_smaller_rank_is_the_first_rows_of_a_larger():
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(3, 6, generator=generator), torch.randn(4, 6, generator=generator)
    down, up = torch.randn(5, 6, generator=generator), torch.randn(5, 4, generator=generator)
    hidden = torch.cat([up[:2], torch.zeros(3, 4)])

    torch.testing.assert_close(
        lora_linear(x, weight, None, down[:2], up[:2], 1.0),
        lora_linear(x, weight, None, down, hidden, 1.0),
    )
