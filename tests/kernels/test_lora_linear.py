"""LoRA's linear map: its definition against sums written out, the CPU's way against it."""

import pytest
import torch

from autopeft.errors import KernelError
from autopeft.kernels.forms import using
from autopeft.kernels.lora_linear import naive
from autopeft.kernels.lora_linear.dropout import kept
from autopeft.kernels.lora_linear.eager import lora_linear as eager_lora_linear
from autopeft.kernels.lora_linear.operator import lora_linear, low_rank, row_norms

# Tokens, inputs, outputs, rank; one rank is above both widths.
SHAPES = [(7, 33, 20, 1), (63, 48, 31, 5), (1, 64, 64, 16), (5, 6, 4, 9)]


def operands(shape, dtype=torch.float32, *, seed=0):
    """Return x, weight, bias, both factors and a residual."""
    T, I, O, R = shape  # noqa: E741  # axes
    generator = torch.Generator().manual_seed(seed)
    sizes = (2, T, I), (O, I), (O,), (R, I), (R, O), (2, T, O)
    return [
        torch.randn(*size, generator=generator, dtype=torch.float64).to(dtype) for size in sizes
    ]


def outcomes(function, given, trained=range(6)):
    """Return the output, and the gradients of what is trained."""
    leaves = [x.detach().requires_grad_(place in trained) for place, x in enumerate(given)]
    y = function(*leaves)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(9))
    (y.to(weights.dtype) * weights).sum().backward()
    return [y.detach(), *(leaf.grad for leaf in leaves)]


def public(x, weight, bias, down, up, residual=None, **more):
    return lora_linear(x, weight, bias, down, up, 1.7, residual_O=residual, **more)


def definition(x, weight, bias, down, up, residual=None):
    return naive.lora_linear(x, weight, bias, down, up, 1.7, residual_O=residual)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_frozen_map_plus_the_scaled_product(shape, biased):
    """Against sums written out by index, in double precision."""
    x, weight, bias, down, up, residual = operands(shape, torch.float64)
    expected = torch.einsum("bti,oi->bto", x, weight)
    expected += 1.7 * torch.einsum("bti,ri,ro->bto", x, down, up)

    found = naive.lora_linear(x, weight, bias if biased else None, down, up, 1.7)
    more = naive.lora_linear(x, weight, None, down, up, 1.7, residual_O=residual)

    torch.testing.assert_close(found, expected + bias if biased else expected)
    torch.testing.assert_close(more, expected + residual)


def test_dropout_is_in_front_of_the_product_alone():
    x, weight, bias, down, up, _ = operands(SHAPES[0], torch.float64)
    mask = kept(x, 0.4, 3)

    found = naive.lora_linear(x, weight, bias, down, up, 1.7, kept_I=mask)

    expected = naive.lora_linear(mask * x, weight, bias, down, up, 1.7)
    torch.testing.assert_close(found, expected + (x - mask * x) @ weight.T)


def test_its_gradients_are_those_of_finite_differences():
    generator = torch.Generator().manual_seed(0)
    given = [
        torch.randn(*size, generator=generator, dtype=torch.float64, requires_grad=True)
        for size in ((2, 3, 5), (4, 5), (4,), (2, 5), (2, 4))
    ]

    assert torch.autograd.gradcheck(lambda *leaves: naive.lora_linear(*leaves, 1.7), given)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_the_gradients_of_the_cpus_way_are_those_of_finite_differences(dropout):
    generator = torch.Generator().manual_seed(0)
    given = [
        torch.randn(*size, generator=generator, dtype=torch.float64, requires_grad=True)
        for size in ((2, 3, 5), (4, 5), (4,), (2, 5), (2, 4))
    ]

    def function(*leaves):
        return eager_lora_linear(*leaves, 1.7, dropout=dropout, seed=2)

    assert torch.autograd.gradcheck(function, given)


def test_a_smaller_rank_is_the_first_rows_of_a_larger():
    x, weight, _, down, up, _ = operands((3, 6, 4, 5))
    hidden = torch.cat([up[:2], torch.zeros(3, 4)])

    torch.testing.assert_close(
        lora_linear(x, weight, None, down[:2], up[:2], 1.0),
        lora_linear(x, weight, None, down, hidden, 1.0),
    )


@pytest.mark.parametrize("form", ["naive", "eager"])
@pytest.mark.parametrize("shape", SHAPES)
def test_each_form_and_its_gradients_agree_with_the_definition(shape, form):
    """In double precision, to the rounding of single."""
    given = operands(shape)
    with using(form):
        found = outcomes(public, given)

    expected = outcomes(definition, [x.double() for x in given])

    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["naive", "eager"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_within_its_rounding(dtype, form):
    """Factors stay in single precision, and so do their gradients."""
    given = operands(SHAPES[1], dtype)
    given[3:5] = [factor.float() for factor in given[3:5]]
    with using(form):
        found = outcomes(public, given)

    expected = outcomes(definition, [x.double() for x in given])

    assert found[4].dtype == found[5].dtype == torch.float32
    for one, other in zip(found, expected, strict=True):
        share = 0.02 if dtype is torch.bfloat16 else 0.003
        atol = share * other.abs().max().item()
        torch.testing.assert_close(one.double(), other, rtol=0, atol=atol)


@pytest.mark.parametrize("form", ["naive", "eager"])
def test_autocast_halves_the_map_and_not_the_gradients(form):
    given = operands(SHAPES[1])
    with using(form), torch.autocast("cpu", dtype=torch.bfloat16):
        found = outcomes(public, given)

    expected = outcomes(definition, given)

    assert found[0].dtype is torch.bfloat16
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert one.dtype is torch.float32
        torch.testing.assert_close(one, other, rtol=0, atol=0.02 * other.abs().max().item())


def test_the_same_is_dropped_by_the_same_seed():
    """In the definition and the CPU's way, forward and backward."""
    given = operands(SHAPES[1])
    found = []
    for form in ("naive", "eager"):
        with using(form):
            found.append(outcomes(lambda *x: public(*x, dropout=0.3, seed=5), given))
    with using("eager"):
        other = public(*given, dropout=0.3, seed=6)

    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found[0][0], other)


def test_a_share_is_dropped_and_the_rest_scaled_up():
    """4.5 standard errors of a share in 20,000 draws."""
    mask = kept(torch.ones(200, 100), 0.3, 7)

    assert abs((mask == 0).double().mean().item() - 0.3) < 4.5 * (0.3 * 0.7 / 20_000) ** 0.5
    torch.testing.assert_close(mask.max(), torch.tensor(1 / 0.7))


@pytest.mark.parametrize("form", ["naive", "eager"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_product_alone_is_the_map_without_its_frozen_part(form, dropout):
    x, weight, _, down, up, _ = operands(SHAPES[1])

    def alone(x, down, up):
        with using(form):
            return low_rank(x, down, up, 1.7, dropout=dropout, seed=5)

    def difference(x, down, up):
        whole = naive.lora_linear(x, weight, None, down, up, 1.7, kept_I=kept(x, dropout, 5))
        return whole - (x @ weight.T).detach() - (x - x.detach()) @ weight.T

    found, expected = (outcomes(function, [x, down, up]) for function in (alone, difference))

    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


# What is trained, by place, and which shapes of 21 rows are kept for the backward.
X, ACTIVATION = (21, 33), (21, 3)
KEPT = [
    ((0, 3, 4), {X, ACTIVATION}),
    ((0, 4), {ACTIVATION}),
    ((0, 3), {X}),
    ((0,), set()),
    ((0, 1), {X}),
]


@pytest.mark.parametrize(("trained", "expected"), KEPT)
def test_only_what_a_gradient_needs_is_kept(trained, expected):
    """With ``down`` frozen (LoRA-FA) the rank-r activation takes the place of x."""
    given = [x[0] if x.dim() == 3 else x for x in operands((21, 33, 20, 3))]
    leaves = [x.requires_grad_(place in trained) for place, x in enumerate(given)]
    shapes = set()

    def pack(tensor):
        shapes.add(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        public(*leaves[:5]).sum().backward()

    assert shapes & {X, ACTIVATION} == expected
    assert [leaf.grad is not None for leaf in leaves] == [place in trained for place in range(6)]


def test_no_graph_is_made_where_nothing_is_trained():
    assert not public(*operands(SHAPES[0])).requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", ["naive", "eager"])
@pytest.mark.parametrize("shape", [(0, 6, 4, 2), (3, 0, 4, 2), (3, 6, 0, 2), (3, 6, 4, 0)])
def test_an_axis_may_be_empty(shape, form, dtype):
    """What is left of output and gradients is that of the definition, in half precision too."""
    given = operands(shape, dtype)
    with using(form):
        found = outcomes(public, given)

    expected = outcomes(definition, [operand.double() for operand in given])
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        share = 1e-5 if dtype is torch.float32 else 0.02
        atol = share * max((other.abs().max().item() if other.numel() else 0), 1e-3)
        torch.testing.assert_close(one.double(), other, rtol=0, atol=atol)


@pytest.mark.parametrize("axes", [0, 1, 2, 3])
def test_leading_axes_may_be_any(axes):
    x, weight, bias, down, up, _ = operands((7, 33, 20, 3))
    x = x[0, 0] if axes == 0 else x.reshape((1,) * (axes - 1) + (14, 33))

    found = public(x, weight, bias, down, up)

    assert found.shape == (*x.shape[:-1], 20)
    torch.testing.assert_close(found, definition(x, weight, bias, down, up), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bias", [slice(None, None, 2), slice(20, None), None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_strides_may_be_any(dtype, bias):
    """Inputs turned, a weight as GPT-2 stores it, factors cut from others, one gradient for all."""
    generator = torch.Generator().manual_seed(1)

    def random(*size):
        return torch.randn(*size, generator=generator).to(dtype)

    given = [
        random(33, 5, 3).permute(2, 1, 0), random(33, 20).T,
        random(1).expand(20) if bias is None else random(40)[bias],
        random(9, 66)[:4, ::2], random(9, 30)[:4, :20], random(1, 1, 20).expand(3, 5, 20),
    ]  # fmt: skip

    def summed(function, operands):
        leaves = [operand.detach().requires_grad_() for operand in operands]
        y = function(*leaves)
        y.sum().backward()
        return [y.detach(), *(leaf.grad for leaf in leaves)]

    expected = summed(definition, [operand.double() for operand in given])
    for one, other in zip(summed(public, given), expected, strict=True):
        share = 1e-5 if dtype is torch.float32 else 0.02
        atol = share * other.abs().max().item()
        torch.testing.assert_close(one.double(), other, rtol=0, atol=atol)


REFUSED = [
    ({3: torch.ones(3, 32)}, r"down of shape \(3, 32\) beside x of .* it needs \(3, 33\)"),
    ({4: torch.ones(2, 20)}, r"up of shape \(2, 20\) beside .* it needs \(3, 20\)"),
    ({1: torch.ones(33, 20)}, r"weight of shape \(33, 20\) .* it needs \(20, 33\)"),
    ({2: torch.ones(1)}, r"bias of shape \(1,\) .* it needs \(20,\)"),
    ({5: torch.ones(7, 20)}, r"residual of shape \(7, 20\) .* it needs \(2, 7, 20\)"),
    ({1: torch.ones(20, 33).half()}, r"one precision, not torch.float32 and torch.float16: conv"),
    ({0: torch.ones(2, 7, 33).int()}, r"lora_linear cannot take x in torch.int32"),
    ({4: torch.ones(3, 20, device="meta")}, r"lora_linear needs all operands on one device"),
]


@pytest.mark.parametrize(("changes", "match"), REFUSED)
def test_what_does_not_fit_is_refused(changes, match):
    given = operands((7, 33, 20, 3))
    for place, operand in changes.items():
        given[place] = operand

    with pytest.raises(KernelError, match=match):
        public(*given)


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_a_share_that_is_none_cannot_be_dropped(dropout):
    x, _, _, down, up, _ = operands((7, 33, 20, 3))

    with pytest.raises(KernelError, match=r"cannot drop a share of .*: write one from 0 to below"):
        low_rank(x, down, up, 1.0, dropout=dropout)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("seed", [2**63, -(2**63) - 1, 2**64, 1.0, "7", None])
def test_a_seed_that_torch_cannot_take_is_refused(seed, dropout):
    """Where nothing is dropped too: one form alone would not mind."""
    x, weight, bias, down, up, _ = operands((7, 33, 20, 3))

    for way in (
        lambda: low_rank(x, down, up, 1.0, dropout=dropout, seed=seed),
        lambda: lora_linear(x, weight, bias, down, up, 1.0, dropout=dropout, seed=seed),
    ):
        with pytest.raises(
            KernelError, match=r"from the seed .*: write a whole number from -2\^63"
        ):
            way()


@pytest.mark.parametrize("form", ["naive", "eager"])
@pytest.mark.parametrize("seed", [2**63 - 1, -(2**63), -1])
def test_every_whole_number_of_64_bits_is_a_seed(seed, form):
    x, _, _, down, up, _ = operands((7, 33, 20, 3))

    with using(form):
        found = [low_rank(x, down, up, 1.0, dropout=0.3, seed=seed) for _ in range(2)]

    assert torch.equal(*found)


@pytest.mark.parametrize("form", ["naive", "eager"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_norms_of_rows_are_those_of_the_whole_matrix(shape, dtype, form):
    """In single precision whatever the matrix is in, under autocast too, and without a gradient."""
    _, weight, _, down, up, _ = operands(shape, dtype)
    factors = [factor.float().requires_grad_() for factor in (down, up)]
    with using(form), torch.autocast("cpu", dtype=torch.bfloat16):
        found = row_norms(weight, *factors, 1.7)

    whole = weight.double() + 1.7 * up.double().T @ down.double()
    assert found.dtype is torch.float32
    assert not found.requires_grad
    torch.testing.assert_close(found.double(), whole.square().sum(1).sqrt(), rtol=1e-5, atol=1e-5)


def test_norms_of_a_matrix_that_does_not_fit_are_refused():
    with pytest.raises(
        KernelError, match=r"row_norms cannot take weight of shape \(3, 2\) .* \(4, 2\)"
    ):
        row_norms(torch.ones(3, 2), torch.ones(1, 2), torch.ones(1, 4), 1.0)
