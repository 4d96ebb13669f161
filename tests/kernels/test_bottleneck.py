import pytest
import torch

from autopeft.kernels.bottleneck.naive import bottleneck


@pytest.mark.parametrize(("T", "I", "H", "O"), [(7, 33, 1, 20), (63, 48, 5, 31), (64, 64, 16, 64)])
def test_it_is_down_relu_up_and_scale(T, I, H, O):  # noqa: E741  # axes
    """Against sums written out by index, in double precision; the scale takes the bias too."""
    generator = torch.Generator().manual_seed(0)
    x, down, bias, up, last = (
        torch.randn(*size, generator=generator, dtype=torch.float64)
        for size in ((2, T, I), (H, I), (H,), (H, O), (O,))
    )

    found = bottleneck(x, down, bias, up, last, 4.0)

    hidden = (torch.einsum("bti,hi->bth", x, down) + bias).clamp(min=0)
    assert 0 < (hidden == 0).double().mean() < 1, "some are cut off and some are not"
    expected = 4.0 * torch.einsum("bth,ho->bto", hidden, up) + 4.0 * last
    torch.testing.assert_close(found, expected)


def test_another_activation_may_stand_in_for_relu():
    """Down 2 · 3, squared, up 0.5 · 36 + 1, doubled."""
    one = torch.ones(1)
    found = bottleneck(3 * one, 2 * one[None], 0 * one, one[None] / 2, one, 2.0, torch.square)

    assert found.item() == 38.0


def test_its_gradients_are_those_of_finite_differences():
    generator = torch.Generator().manual_seed(0)
    operands = [
        torch.randn(*size, generator=generator, dtype=torch.float64, requires_grad=True)
        for size in ((2, 3, 5), (4, 5), (4,), (4, 6), (6,))
    ]

    assert torch.autograd.gradcheck(lambda *given: bottleneck(*given, 4.0), operands)


def test_a_smaller_width_is_the_first_rows_of_a_larger():
    generator = torch.Generator().manual_seed(0)
    x, bias, last = (torch.randn(*size, generator=generator) for size in ((3, 6), (5,), (4,)))
    down, up = torch.randn(5, 6, generator=generator), torch.randn(5, 4, generator=generator)
    hidden = torch.cat([up[:2], torch.zeros(3, 4)])

    torch.testing.assert_close(
        bottleneck(x, down[:2], bias[:2], up[:2], last, 1.0),
        bottleneck(x, down, bias, hidden, last, 1.0),
    )
