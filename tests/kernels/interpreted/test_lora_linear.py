"""LoRA's linear map in Triton's interpreter: output and every gradient against the definition."""

import pytest
import torch
import triton
import triton.language as tl
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.errors import KernelError
from autopeft.kernels.forms import using
from autopeft.kernels.lora_linear import kernels, naive, registered
from autopeft.kernels.lora_linear.operator import lora_linear, low_rank, row_norms

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
# Rows, inputs, outputs, rank: no multiples of a block, a rank of one, and one above what is fused.
SHAPES = [(63, 33, 20, 1), (17, 500, 31, 5), (1, 17, 63, 16), (34, 30, 50, 70)]
NAMES = ("x", "weight", "bias", "down", "up", "residual")


def operands(shape, dtype, factors=None, *, seed=0):
    """Return operands of one type, their factors in another if asked, but none more exact."""
    N, I, O, R = shape  # noqa: E741  # axes
    generator = torch.Generator().manual_seed(seed)

    def random(*size):
        return torch.randn(*size, generator=generator).to(dtype)

    x, weight, bias, residual = random(N, I), random(O, I), random(O), random(N, O)
    down, up = (random(R, width).to(factors or dtype) for width in (I, O))
    return [x, weight, bias, down, up, residual]


def outcomes(function, given, gradient):
    """Return the output and all gradients."""
    leaves = [operand.detach().requires_grad_() for operand in given]
    y = function(*leaves)
    y.backward(gradient.to(y.dtype))
    return [y.detach(), *(leaf.grad for leaf in leaves)]


def in_triton(x, weight, bias, down, up, residual=None, **more):
    with using("triton"):
        return lora_linear(x, weight, bias, down, up, 0.7, residual_O=residual, **more)


def by_definition(x, weight, bias, down, up, residual=None, kept=None):
    return naive.lora_linear(x, weight, bias, down, up, 0.7, kept_I=kept, residual_O=residual)


def check(close, function, definition, given, dtype, names=NAMES):
    shape = definition(*given).shape
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(9)).to(dtype)
    found = outcomes(function, given, gradient)
    expected = outcomes(definition, [operand.double() for operand in given], gradient)
    for what, one, other in zip(("output", *names), found, expected, strict=True):
        close(one, other, dtype, what)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_and_its_gradients_are_the_definitions(close, shape, dtype):
    """Of the weight and the bias too, which a configuration may train beside the factors."""
    check(close, in_triton, by_definition, operands(shape, dtype), dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_factors_may_be_more_exact_than_the_rest(close, dtype):
    """As masters that an optimiser moves; their gradients come back as exact as they are."""
    given = operands(SHAPES[0], dtype, torch.float32)
    x = [operand.to(dtype) for operand in given]

    found = outcomes(in_triton, given, torch.ones_like(given[5]))
    expected = outcomes(by_definition, [each.double() for each in x], torch.ones_like(given[5]))

    assert [each.dtype for each in found[4:6]] == [torch.float32] * 2
    for what, one, other in zip(("output", *NAMES), found, expected, strict=True):
        close(one, other, dtype, what)


@settings(max_examples=6, deadline=None, derandomize=True, database=None)
@given(
    shape=st.tuples(*(st.integers(0, most) for most in (20, 40, 40, 20))),
    seed=st.integers(0, 2**31),
)
def test_it_takes_any_sizes(shape, seed):
    """Zero as well: no rows, no inputs, no outputs, no rank."""
    given = operands(shape, torch.float32, seed=seed)
    ones = torch.ones(shape[0], shape[2])

    found = outcomes(in_triton, given, ones)

    expected = outcomes(by_definition, [each.double() for each in given], ones)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)


def test_it_takes_any_strides_and_leading_axes(close):
    """Inputs turned, a weight as GPT-2 stores it, factors cut from others."""
    generator = torch.Generator().manual_seed(1)

    def random(*size):
        return torch.randn(*size, generator=generator)

    x, residual = random(33, 5, 3).permute(2, 1, 0), random(1, 1, 20).expand(3, 5, 20)
    weight, bias = random(33, 20).T, random(40)[::2]
    down, up = random(9, 66)[:4, ::2], random(9, 30)[:4, :20]
    given = [x, weight, bias, down, up, residual]

    def summed(function):
        leaves = [operand.detach().requires_grad_() for operand in given]
        double = function is by_definition
        y = function(*((leaf.double() for leaf in leaves) if double else leaves))
        y.sum().backward()
        return [y.detach(), *(leaf.grad for leaf in leaves)]

    for what, one, other in zip(
        ("output", *NAMES), summed(in_triton), summed(by_definition), strict=True
    ):
        close(one, other, what=what)


def test_many_rows_are_summed_in_splits(close):
    given = operands((1100, 20, 18, 3), torch.float32)

    check(close, in_triton, by_definition, given, torch.float32)


@triton.jit
def kept_kernel(p_kept, rows, width, dropout, seed, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    o_n, o_i = tl.arange(0, ROWS), tl.arange(0, BLOCK)
    m_ni = (o_n[:, None] < rows) & (o_i[None, :] < width)
    b_kept = kernels._kept(seed, o_n, o_i, width, dropout)
    tl.store(p_kept + o_n[:, None] * width + o_i[None, :], b_kept, m_ni)


def kept(shape, dropout, seed):
    """Return what the kernels drop, drawn once more."""
    N, I, *_ = shape  # noqa: E741  # axes
    found = torch.empty(N, I)
    powers = [triton.next_power_of_2(length) for length in (N, I)]
    kept_kernel[(1,)](found, N, I, dropout, seed, *powers)
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[3]])
def test_what_is_dropped_follows_from_the_seed(close, shape, dtype):
    """The backward drops the same; that of large ranks too, which are made apart."""
    mask = kept(shape, 0.4, 2**40 + 3).to(dtype)

    check(
        close,
        lambda *given: in_triton(*given, dropout=0.4, seed=2**40 + 3),
        lambda *given: by_definition(*given, kept=mask.to(given[0].dtype)),
        operands(shape, dtype),
        dtype,
    )


def test_a_share_of_the_inputs_is_dropped_and_the_others_are_scaled_up():
    """4.5 standard errors of a share in 20,000 draws."""
    mask = kept((200, 100), 0.3, 7)
    dropped = (mask == 0).double().mean().item()

    assert abs(dropped - 0.3) < 4.5 * (0.3 * 0.7 / 20_000) ** 0.5
    torch.testing.assert_close(mask[mask > 0], torch.full_like(mask[mask > 0], 1 / 0.7))
    assert not torch.equal(mask, kept((200, 100), 0.3, 8))


@pytest.mark.parametrize("dropout", [0.0, 0.25])
@pytest.mark.parametrize("shape", [SHAPES[1], SHAPES[3]])
def test_the_product_alone_is_the_definitions(close, shape, dropout):
    x, _, _, down, up, _ = operands(shape, torch.float32)
    mask = kept(shape, dropout, 5).double() if dropout else None

    def alone(x, down, up):
        with using("triton"):
            return low_rank(x, down, up, 0.7, dropout=dropout, seed=5)

    def definition(x, down, up):
        mine = None if mask is None else mask.to(x.dtype)
        return naive.low_rank(x, down, up, 0.7, kept_I=mine)

    check(close, alone, definition, [x, down, up], torch.float32, ("x", "down", "up"))


def kept_for_backward(given):
    """Return what a call keeps for its backward: the shapes."""
    shapes = []

    def pack(tensor):
        shapes.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = in_triton(*given)
    return y, shapes


def test_with_a_frozen_first_factor_x_is_not_kept():
    """LoRA-FA: the rank-r activation takes its place, and ``down`` has no gradient."""
    x, weight, bias, down, up, _ = operands((21, 33, 20, 3), torch.float32)
    x.requires_grad_()
    up.requires_grad_()
    y, shapes = kept_for_backward([x, weight, bias, down, up])
    y.sum().backward()

    assert (21, 33) not in shapes
    assert (21, 3) in shapes
    assert down.grad is None
    expected = x.detach().clone().requires_grad_()
    by_definition(expected, weight, bias, down, up.detach()).sum().backward()
    torch.testing.assert_close(x.grad, expected.grad, rtol=1e-5, atol=1e-5)


def test_factors_are_trained_where_nothing_below_is():
    """The lowest layer: no gradient of x is made, and that of ``down`` is right without it."""
    given = operands((21, 33, 20, 3), torch.float32)
    found, expected = ([x.clone() for x in given[:5]] for _ in range(2))
    for function, leaves in ((in_triton, found), (by_definition, expected)):
        leaves[3].requires_grad_()
        function(*leaves).sum().backward()

    assert found[0].grad is None
    torch.testing.assert_close(found[3].grad, expected[3].grad, rtol=1e-5, atol=1e-5)


def test_autocast_halves_the_frozen_map_and_not_the_gradients_of_factors():
    x, weight, bias, down, up, _ = operands((21, 33, 20, 3), torch.float32)
    down.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = in_triton(x, weight, bias, down, up)
    y.float().sum().backward()

    assert y.dtype is torch.bfloat16
    assert down.grad.dtype is torch.float32


def test_torch_takes_it_for_one_of_its_own():
    """Schema, fake tensors and autograd registration, with each gradient and with some."""
    given = operands((5, 7, 6, 2), torch.float32)
    for trained in ((0, 3, 4), (4,)):
        leaves = [x.clone().requires_grad_(place in trained) for place, x in enumerate(given)]
        given_all = (*leaves[:5], None, leaves[5])
        torch.library.opcheck(registered.lora_linear, (*given_all, 0.7, 0.1, 3, False))
    alone = given[0], None, None, given[3], given[4], None, None
    torch.library.opcheck(registered.lora_linear, (*alone, 0.7, 0.0, 3, False))
    hidden = torch.randn(5, 2)
    for x, h in ((given[0], hidden), (None, hidden)):
        torch.library.opcheck(
            registered.lora_linear_backward,
            (given[5], x, h, given[1], given[3], given[4], 0.7, 0.0, 3, True),
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [*SHAPES, (1, 0, 5, 2), (1, 5, 0, 2), (1, 5, 4, 0)])
def test_the_norms_of_rows_are_the_definitions(close, shape, dtype):
    """Stored by rows and by columns; the factors stay in single precision."""
    _, weight, _, down, up, _ = operands(shape, dtype, torch.float32)
    expected = naive.row_norms(weight.double(), down.double(), up.double(), 0.7)
    for stored in (weight, weight.T.contiguous().T):
        with using("triton"):
            found = row_norms(stored, down, up, 0.7)

        assert found.dtype is torch.float32
        close(found, expected)


def test_torch_takes_the_norms_for_its_own():
    _, weight, _, down, up, _ = operands((5, 7, 6, 2), torch.float32)
    torch.library.opcheck(registered.row_norms, (weight, down, up, 0.7))


def test_it_compiles_whole():
    given = operands((5, 7, 6, 2), torch.float32)

    def linear(*leaves):
        return lora_linear(*leaves[:5], 0.7, residual_O=leaves[5])

    compiled = torch.compile(linear, fullgraph=True, backend="aot_eager")

    with using("triton"):
        found, expected = (outcomes(f, given, torch.ones(5, 6)) for f in (compiled, linear))

    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("seed", [2**63 - 1, -(2**63), -1])
def test_every_whole_number_of_64_bits_is_a_seed(seed):
    x, _, _, down, up, _ = operands(SHAPES[0], torch.float32)

    with using("triton"):
        found = [low_rank(x, down, up, 0.7, dropout=0.3, seed=at) for at in (seed, seed, 5)]

    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("seed", [2**63, 1.0])
def test_a_seed_that_torch_cannot_take_is_refused(seed, dropout):
    x, _, _, down, up, _ = operands(SHAPES[0], torch.float32)

    with using("triton"), pytest.raises(KernelError, match=r"from the seed .*: write a whole num"):
        low_rank(x, down, up, 0.7, dropout=dropout, seed=seed)


def test_dropout_follows_the_seed_in_a_compiled_call_too():
    given = operands((5, 7, 6, 2), torch.float32)[:5]

    def linear(seed, *leaves):
        return lora_linear(*leaves, 0.7, dropout=0.4, seed=seed)

    compiled = torch.compile(linear, fullgraph=True, backend="aot_eager")
    outs = []
    for seed in (1, 2, 2**40):
        with using("triton"):
            found, expected = (
                outcomes(lambda *leaves, f=f, s=seed: f(s, *leaves), given, torch.ones(5, 6))
                for f in (compiled, linear)
            )
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one, other)
        outs.append(found[0])

    assert not torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[1], outs[2])
