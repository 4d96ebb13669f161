"""The bottleneck: its definition by hand, the CPU's form against it, and what is refused."""

from itertools import product

import pytest
import torch
from torch.nn.functional import gelu, layer_norm, silu

from autopeft.errors import KernelError
from autopeft.kernels import forms
from autopeft.kernels.bottleneck import eager, naive
from autopeft.kernels.bottleneck.naive import ACTIVATIONS, Norm
from autopeft.kernels.bottleneck.operator import bottleneck

BLAMED = ("x", "down", "bias", "last bias", "last bias", "norm weight", "norm bias", "residual")
"""By the operand that is too short; the columns of up say how many outputs there are."""


def random(*sizes, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*size, generator=generator, dtype=dtype) for size in sizes]


def operands(T=7, I=12, H=5, O=9, **how):  # noqa: E741  # axes
    """Return x, both factors and biases, the norm's factors and shifts, and a residual."""
    sizes = ((2, T, I), (H, I), (H,), (H, O), (O,), (I,), (I,), (2, T, O))
    return random(*sizes, **how)


def called(function, leaves, activation="relu", *, norm=True, residual=True):
    given = {"norm": Norm(*leaves[5:7], 1e-4)} if norm else {}
    given |= {"residual_O": leaves[7]} if residual else {}
    return function(*leaves[:5], 4.0, activation, **given)


def outcome(function, leaves, *rest, **given):
    """Return output and gradients for a fixed upstream gradient."""
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    out = called(function, leaves, *rest, **given)
    (upstream,) = random(out.shape, seed=9, dtype=torch.float32)
    out.backward(upstream.to(out.dtype))
    return [out.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize(("T", "I", "H", "O"), [(7, 33, 1, 20), (63, 48, 5, 31), (64, 64, 16, 64)])
def test_it_is_down_relu_up_and_scale(T, I, H, O):  # noqa: E741  # axes
    """Against sums written out by index, in double precision; the scale takes the bias too."""
    leaves = operands(T, I, H, O)
    x, down, bias, up, last = leaves[:5]

    found = called(naive.bottleneck, leaves, norm=False, residual=False)

    hidden = (torch.einsum("bti,hi->bth", x, down) + bias).clamp(min=0)
    assert 0 < (hidden == 0).double().mean() < 1, "some are cut off and some are not"
    expected = 4.0 * torch.einsum("bth,ho->bto", hidden, up) + 4.0 * last
    torch.testing.assert_close(found, expected)


def test_it_reads_through_a_norm_and_is_added_to_a_residual():
    leaves = operands()
    x, _, _, _, _, weight, shift, residual = leaves

    found = called(naive.bottleneck, leaves)

    read = layer_norm(x, x.shape[-1:], weight, shift, 1e-4)
    added = called(naive.bottleneck, [read, *leaves[1:]], norm=False, residual=False)
    torch.testing.assert_close(found, residual + added)


@pytest.mark.parametrize(("name", "function"), [
    ("relu", lambda x: x.clamp(min=0)),
    ("gelu", gelu),
    ("gelu_tanh", lambda x: gelu(x, approximate="tanh")),
    ("silu", silu),
])  # fmt: skip
def test_an_activation_is_meant_by_its_name(name, function):
    """Down 2 · x, up 0.5 times and 1, doubled."""
    (x,) = random((50, 1))
    one = torch.ones(1, dtype=torch.float64)

    found = naive.bottleneck(x, 2 * one[None], 0 * one, one[None] / 2, one, 2.0, name)

    torch.testing.assert_close(found, function(2 * x) + 2)


@pytest.mark.parametrize("function", [naive.bottleneck, eager.bottleneck], ids=["naive", "eager"])
@pytest.mark.parametrize(("activation", "norm"), list(product(ACTIVATIONS, [False, True])))
def test_gradients_are_those_of_finite_differences(function, activation, norm):
    leaves = [leaf.requires_grad_() for leaf in operands(T=2, I=4, H=3, O=3)]

    assert torch.autograd.gradcheck(
        lambda *given: called(function, given, activation, norm=norm, residual=norm), leaves
    )


def test_a_smaller_width_is_the_first_rows_of_a_larger():
    x, down, bias, up, last = operands(H=5)[:5]
    hidden = torch.cat([up[:2], 0 * up[2:]])

    torch.testing.assert_close(
        naive.bottleneck(x, down[:2], bias[:2], up[:2], last, 1.0),
        naive.bottleneck(x, down, bias, hidden, last, 1.0),
    )


@pytest.mark.parametrize(("activation", "norm"), list(product(ACTIVATIONS, [False, True])))
def test_the_form_of_a_cpu_agrees_with_the_definition(activation, norm):
    """In single precision, to the rounding of sums in another order."""
    leaves = operands(63, 33, 17, 20, dtype=torch.float32)
    given = {"norm": norm, "residual": norm}
    if not norm:
        leaves = leaves[:5]

    found, expected = (
        outcome(function, leaves, activation, **given)
        for function in (bottleneck, naive.bottleneck)
    )

    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-5 * float(other.abs().max()))


@pytest.mark.parametrize("types", [*product((torch.float32, torch.bfloat16), repeat=3)])
@pytest.mark.parametrize("form", ["naive", "eager"])
def test_a_norm_may_be_of_two_types_and_neither_that_of_x(form, types):
    leaves = operands(dtype=torch.float32)
    leaves[0], leaves[5], leaves[6] = (
        leaves[place].to(dtype) for place, dtype in zip((0, 5, 6), types, strict=True)
    )
    with forms.using(form):
        found = outcome(bottleneck, leaves)

    expected = outcome(naive.bottleneck, [leaf.double() for leaf in leaves])
    for one, other, leaf in zip(found[1:], expected[1:], leaves, strict=True):
        assert one.dtype is leaf.dtype
        atol = 0.03 * other.abs().max().item()
        torch.testing.assert_close(one.double(), other, rtol=0, atol=atol)


@pytest.mark.parametrize("form", ["naive", "eager"])
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_factors_may_be_masters_of_single_precision(form, half):
    """Products are of the input's precision; gradients come back in that of each operand."""
    leaves = operands(31, 33, 17, 20, dtype=torch.float32)
    leaves = [leaves[0].to(half), *leaves[1:7], leaves[7].to(half)]
    exact = outcome(naive.bottleneck, [leaf.double() for leaf in leaves], "gelu")

    with forms.using(form):
        found = outcome(bottleneck, leaves, "gelu")

    for leaf, one, other in zip([leaves[0], *leaves], found, exact, strict=True):
        assert one.dtype is leaf.dtype
        # Several roundings of 2^-9 and 2^-12, of sums of a few dozen terms.
        share = 3e-2 if half is torch.bfloat16 else 4e-3
        torch.testing.assert_close(
            one.double(), other, rtol=0, atol=share * float(other.abs().max())
        )


@pytest.mark.parametrize("form", ["naive", "eager"])
def test_under_autocast_it_runs_in_the_precision_of_that(form):
    """What it is added to keeps its own."""
    leaves = operands(dtype=torch.float32)

    with forms.using(form), torch.autocast("cpu", torch.bfloat16):
        plain = called(bottleneck, leaves, residual=False)
        added = called(bottleneck, leaves)

    assert (plain.dtype, added.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(added, called(naive.bottleneck, leaves), rtol=0.05, atol=0.5)


@pytest.mark.parametrize("form", ["naive", "eager"])
@pytest.mark.parametrize("empty", [{"T": 0}, {"H": 0}, {"O": 0}])
def test_what_is_empty_gives_an_empty_sum(form, empty):
    """Without rows nothing, and gradients of zero; without a bottleneck the last bias alone."""
    leaves = operands(**empty, dtype=torch.float32)

    with forms.using(form):
        out, *grads = outcome(bottleneck, leaves)

    torch.testing.assert_close(out, leaves[7] + 4 * leaves[4] if empty == {"H": 0} else out)
    assert [grad.shape for grad in grads] == [leaf.shape for leaf in leaves]
    assert all(grad.isfinite().all() for grad in grads)


def test_what_is_saved_is_the_input_and_the_bottleneck():
    """Neither normalised inputs nor activations, which naive keeps beside them."""
    leaves = [leaf.requires_grad_() for leaf in operands(64, 32, 4, 32, dtype=torch.float32)]
    given = {leaf.data_ptr() for leaf in leaves}
    kept = {}
    for function in (naive.bottleneck, bottleneck):
        sizes = {}

        def note(tensor, sizes=sizes):
            sizes[tensor.data_ptr()] = 0 if tensor.data_ptr() in given else tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            out = called(function, leaves, "gelu")
        assert out.requires_grad
        kept[function] = sum(sizes.values())

    rows = 2 * 64
    assert kept[bottleneck] == rows * 4 + 2 * rows, "and mean and deviation of each row"
    assert kept[naive.bottleneck] > rows * 32


@pytest.mark.parametrize("place", range(1, 8))
def test_an_operand_of_another_shape_is_refused(place):
    leaves = operands(dtype=torch.float32)
    leaves[place] = leaves[place][..., :-1]

    with pytest.raises(KernelError, match=rf"bottleneck needs {BLAMED[place]} of shape \(.*, not"):
        called(bottleneck, leaves)


def test_an_unknown_activation_is_refused():
    with pytest.raises(
        KernelError, match="no activation 'tanh': take one of relu, gelu, gelu_tanh, silu"
    ):
        called(bottleneck, operands(dtype=torch.float32), "tanh")


def test_numbers_that_no_kernel_knows_are_refused():
    with (
        forms.using("triton"),
        pytest.raises(KernelError, match=r"bottleneck cannot take x in torch\.float64"),
    ):
        called(bottleneck, operands())


def test_operands_on_several_devices_are_refused():
    leaves = operands(dtype=torch.float32)
    leaves[3] = leaves[3].to("meta")

    with pytest.raises(KernelError, match="bottleneck needs all operands on one device"):
        called(bottleneck, leaves)
