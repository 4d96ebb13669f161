"""The bottleneck's kernels against its definition: output and every gradient."""

from dataclasses import dataclass, replace
from itertools import product

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autopeft.kernels import forms
from autopeft.kernels.bottleneck import naive, registered
from autopeft.kernels.bottleneck.naive import ACTIVATIONS, Norm
from autopeft.kernels.bottleneck.operator import bottleneck

FLOAT, HALF, BRAIN = torch.float32, torch.float16, torch.bfloat16
NAMES = ("x", "down", "bias", "up", "last", "norm_weight", "norm_bias", "residual")


@dataclass(frozen=True, kw_only=True)
class Case:
    """Sizes and types of operands; ``residual`` is none, another tensor, or x itself."""

    N: int = 17
    I: int = 20  # noqa: E741  # axes
    H: int = 5
    O: int = 20  # noqa: E741  # axes
    activation: str = "gelu"
    norm: bool = False
    residual: str = "none"
    dtype: torch.dtype = FLOAT
    factors: torch.dtype = FLOAT

    def operands(self):
        """Return rounded leaves by name, the residual only where it is a tensor of its own."""
        generator = torch.Generator().manual_seed(5)

        def random(*size):
            return torch.randn(*size, generator=generator)

        values = {
            "x": 1 + 2 * random(2, self.N, self.I),
            "down": random(self.H, self.I) / max(1, self.I) ** 0.5,
            "bias": random(self.H),
            "up": random(self.H, self.O) / max(1, self.H) ** 0.5,
            "last": random(self.O),
            "norm_weight": 1 + 0.3 * random(self.I),
            "norm_bias": random(self.I),
            "residual": random(2, self.N, self.O),
        }
        stream = ("x", "residual")
        return {
            name: value.to(self.dtype if name in stream else self.factors)
            for name, value in values.items()
            if self._present(name)
        }

    def _present(self, name):
        return (self.norm or "norm" not in name) and (name != "residual" or self.residual == "own")

    def called(self, function, leaves):
        norm = Norm(leaves["norm_weight"], leaves["norm_bias"], 1e-4) if self.norm else None
        residual = {"none": None, "own": leaves.get("residual"), "x": leaves["x"]}[self.residual]
        five = (leaves[name] for name in NAMES[:5])
        return function(*five, 1.7, self.activation, norm=norm, residual_O=residual)


def outcome(case, function, leaves):
    """Return output and gradients for a fixed upstream gradient of the operands' type."""
    out = case.called(function, leaves)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(9)).to(case.dtype)
    out.backward(upstream.to(out.dtype))
    return {"output": out.detach()} | {name: leaf.grad for name, leaf in leaves.items()}


def agrees(case, close):
    """Compare the kernels with the definition in double precision, on the same rounded numbers."""
    operands = case.operands()
    exact = outcome(case, naive.bottleneck, {
        name: value.double().requires_grad_() for name, value in operands.items()
    })  # fmt: skip
    with forms.using("triton"):
        found = outcome(case, bottleneck, {
            name: value.requires_grad_() for name, value in operands.items()
        })  # fmt: skip
    assert found["output"].dtype == case.dtype
    for name, tensor in found.items():
        if name in operands:
            assert tensor.dtype == operands[name].dtype, name
        close(tensor, exact[name], dtype=case.dtype, what=name)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("norm", [False, True])
def test_each_activation_agrees_with_its_definition(activation, norm, close):
    agrees(Case(activation=activation, norm=norm, residual="own"), close)


@pytest.mark.parametrize(("N", "I", "H", "O"), [
    (1, 1, 1, 1), (63, 33, 1, 20), (500, 31, 17, 63), (7, 500, 5, 17), (64, 64, 16, 64),
    (3, 20, 63, 500), (9, 40, 100, 17),
])  # fmt: skip
def test_sizes_that_fit_no_block_agree(N, I, H, O, close):  # noqa: E741  # axes
    agrees(Case(N=N, I=I, H=H, O=O, norm=I > 1), close)


@pytest.mark.parametrize(("dtype", "factors"), [
    (BRAIN, BRAIN), (BRAIN, FLOAT), (HALF, HALF), (HALF, FLOAT),
])  # fmt: skip
@pytest.mark.parametrize("norm", [False, True])
def test_half_precision_agrees_to_its_rounding(dtype, factors, norm, close):
    """The factors may be masters of single precision, and have gradients of it."""
    agrees(Case(N=31, I=48, dtype=dtype, factors=factors, norm=norm, residual="own", O=33), close)


@pytest.mark.parametrize(("residual", "norm"), list(product(["none", "own", "x"], [False, True])))
def test_the_residual_may_be_absent_another_or_the_input_itself(residual, norm, close):
    agrees(Case(residual=residual, norm=norm), close)


@pytest.mark.parametrize("residual", ["none", "own", "x"])
def test_wider_bottlenecks_than_a_program_holds_are_added_up(residual, close):
    agrees(Case(N=5, H=300, residual=residual), close)


@pytest.mark.parametrize("empty", [{"N": 0}, {"H": 0}, {"O": 0}])
def test_what_is_empty_gives_what_the_definition_gives(empty, close):
    agrees(replace(Case(norm=True, residual="own"), **empty), close)


# Each call works its way through the interpreter, so few examples, and small ones.
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    case=st.builds(
        Case,
        N=st.integers(0, 40),
        I=st.integers(3, 70),
        H=st.integers(1, 40),
        O=st.integers(1, 70),
        activation=st.sampled_from(sorted(ACTIVATIONS)),
        norm=st.booleans(),
        residual=st.sampled_from(["none", "own"]),
    )
)
def test_any_shape_agrees(case, close):
    agrees(case, close)


def test_operands_of_any_strides_are_taken(close):
    """Views of larger tensors, as a supernet has them, and a transposed input."""
    case = Case(residual="own")
    leaves = case.operands()
    expected = case.called(naive.bottleneck, leaves)
    strided = {
        "x": leaves["x"].transpose(0, 2).contiguous().transpose(0, 2),
        "down": torch.cat([leaves["down"], leaves["down"]], 1)[:, : case.I],
        "up": torch.cat([leaves["up"], leaves["up"]], 1)[:, : case.O],
        "bias": leaves["bias"].repeat_interleave(2)[::2],
        "residual": leaves["residual"].expand(2, -1, -1),
    }

    with forms.using("triton"):
        close(case.called(bottleneck, leaves | strided), expected)


@pytest.mark.parametrize("frozen", [("x",), ("down", "bias", "up", "last")])
def test_only_what_takes_a_gradient_gets_one(frozen):
    case = Case()
    leaves = {n: t.requires_grad_(n not in frozen) for n, t in case.operands().items()}

    with forms.using("triton"):
        found = outcome(case, bottleneck, leaves)

    assert {name for name, grad in found.items() if grad is None} == set(frozen)


def test_without_gradients_nothing_is_kept():
    case = Case(norm=True)
    with forms.using("triton"), torch.no_grad():
        out = case.called(bottleneck, case.operands())

    assert out.grad_fn is None


def test_large_means_do_not_spoil_the_norm():
    """Deviations of one around a thousand: squares of sums would have lost them."""
    case = Case(norm=True, I=70)
    leaves = case.operands()
    leaves["x"] = leaves["x"] / 2 + 1000
    exact = case.called(naive.bottleneck, {n: t.double() for n, t in leaves.items()})

    with forms.using("triton"):
        found = case.called(bottleneck, leaves)

    # Inputs near 1000 have steps of 6e-5 in single precision, which the norm does not change.
    torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=1e-3)


def test_they_are_operators_of_pytorch():
    """Schema, autograd, fake tensors and ``aot_autograd`` with symbolic shapes."""
    case = Case(N=3, norm=True, residual="own")
    leaves = {name: t.flatten(0, 1) if t.dim() == 3 else t for name, t in case.operands().items()}
    given = [leaves[name].requires_grad_() if name in leaves else None for name in NAMES]
    torch.library.opcheck(registered.bottleneck, (*given, 1.7, 1e-5, "gelu", False, True))
    with torch.no_grad():
        out, *kept = registered.bottleneck(*given, 1.7, 1e-5, "gelu", False, True)
    bare = [None if t is None else t.detach() for t in given[:7]]
    torch.library.opcheck(
        registered.bottleneck_backward,
        (torch.ones_like(out), bare[0], *kept, *bare[1:], 1.7, "gelu", False, True, True),
    )


def test_a_compiled_model_holds_them_whole(close):
    case = Case(norm=True, residual="x")
    with forms.using("triton"):
        expected, found = (
            outcome(case, function, {n: t.requires_grad_() for n, t in case.operands().items()})
            for function in (
                bottleneck,
                torch.compile(bottleneck, fullgraph=True, backend="aot_eager"),
            )
        )

    for name, tensor in found.items():
        close(tensor, expected[name], what=name)


def test_under_autocast_it_runs_in_the_precision_of_that(close):
    case = Case(residual="own")
    leaves = case.operands()

    with forms.using("triton"), torch.autocast("cpu", torch.bfloat16):
        plain = replace(case, residual="none").called(bottleneck, leaves)
        onto = case.called(bottleneck, leaves)

    assert (plain.dtype, onto.dtype) == (BRAIN, FLOAT)
    exact = case.called(naive.bottleneck, leaves)
    close(onto, exact, dtype=BRAIN)
