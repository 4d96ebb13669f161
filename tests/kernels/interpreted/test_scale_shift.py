"""The kernels that scale and shift, against their definition: output and every gradient."""

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autopeft.kernels import forms
from autopeft.kernels.scale_shift import naive, registered
from autopeft.kernels.scale_shift.operator import scale_shift

FLOAT, HALF, BRAIN = torch.float32, torch.float16, torch.bfloat16


@dataclass(frozen=True, kw_only=True)
class Case:
    """Sizes and types: N rows of O features, of which S have factors, from ``start`` on."""

    N: int = 7
    O: int = 20  # noqa: E741  # axes
    S: int = 20
    start: int = 0
    shift: bool = True
    dtype: torch.dtype = FLOAT
    factors: torch.dtype = FLOAT

    def operands(self):
        generator = torch.Generator().manual_seed(3)
        sizes = {"x": (2, self.N, self.O), "scale": (self.S,), "shift": (self.S,)}
        values = {name: torch.randn(*size, generator=generator) for name, size in sizes.items()}
        return {
            name: value.to(self.dtype if name == "x" else self.factors)
            for name, value in values.items()
            if self.shift or name != "shift"
        }


def outcome(case, function, leaves):
    """Return output and gradients for a fixed upstream gradient of x's type."""
    out = function(leaves["x"], leaves["scale"], leaves.get("shift"), start=case.start)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(9)).to(case.dtype)
    out.backward(upstream.to(out.dtype))
    return {"output": out.detach()} | {name: leaf.grad for name, leaf in leaves.items()}


def agrees(case, close):
    """Compare the kernels with the definition in double precision, on the same rounded numbers."""
    operands = case.operands()
    exact = outcome(case, naive.scale_shift, {
        name: value.double().requires_grad_() for name, value in operands.items()
    })  # fmt: skip
    with forms.using("triton"):
        found = outcome(case, scale_shift, {
            name: value.requires_grad_() for name, value in operands.items()
        })  # fmt: skip
    for name, tensor in found.items():
        assert tensor.dtype == (case.dtype if name in {"output", "x"} else case.factors), name
        close(tensor, exact[name], what=name)


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize(("N", "O"), [(1, 1), (63, 33), (500, 17), (7, 500), (64, 256)])
def test_sizes_that_fit_no_block_agree(N, O, shift, close):  # noqa: E741  # axes
    agrees(Case(N=N, O=O, S=O, shift=shift), close)


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize(("dtype", "factors"), [
    (BRAIN, BRAIN), (BRAIN, FLOAT), (HALF, HALF), (HALF, FLOAT),
])  # fmt: skip
def test_half_precision_agrees_to_its_rounding(dtype, factors, shift, close):
    """The factors may be masters of single precision, and have gradients of it."""
    agrees(Case(N=33, dtype=dtype, factors=factors, shift=shift), close)


@pytest.mark.parametrize(("O", "S", "start"), [(33, 11, 0), (33, 11, 11), (300, 100, 200)])
def test_of_a_fused_matrix_a_slice_is_changed(O, S, start, close):  # noqa: E741  # axes
    agrees(Case(O=O, S=S, start=start), close)


@pytest.mark.parametrize("empty", [{"N": 0}, {"O": 0, "S": 0}, {"S": 0}])
def test_what_is_empty_gives_what_the_definition_gives(empty, close):
    agrees(replace(Case(), **empty), close)


# Each call works its way through the interpreter, so few examples, and small ones.
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_shape_agrees(data, close):
    O = data.draw(st.integers(1, 300), "O")  # noqa: E741  # axes
    S = data.draw(st.integers(1, O), "S")
    start = data.draw(st.integers(0, O - S), "start")
    rows, shift = data.draw(st.integers(0, 80), "N"), data.draw(st.booleans(), "shift")
    agrees(Case(N=rows, O=O, S=S, start=start, shift=shift), close)


def test_operands_of_any_strides_are_taken(close):
    case = Case()
    leaves = case.operands()
    strided = leaves["x"].transpose(0, 2).contiguous().transpose(0, 2)
    scale = leaves["scale"].repeat_interleave(2)[::2]

    with forms.using("triton"):
        found = scale_shift(strided, scale, leaves["shift"])

    close(found, naive.scale_shift(*leaves.values()))


@pytest.mark.parametrize("frozen", [("x",), ("scale",), ("shift",), ("scale", "shift")])
def test_only_what_takes_a_gradient_gets_one(frozen):
    case = Case()
    leaves = {n: t.requires_grad_(n not in frozen) for n, t in case.operands().items()}

    with forms.using("triton"):
        found = outcome(case, scale_shift, leaves)

    assert {name for name, grad in found.items() if grad is None} == set(frozen)


@pytest.mark.parametrize("shift", [False, True])
def test_they_are_operators_of_pytorch(shift):
    """Schema, autograd, fake tensors and ``aot_autograd`` with symbolic shapes."""
    leaves = Case(N=3, shift=shift).operands()
    x_NO, scale = leaves["x"].flatten(0, 1), leaves["scale"]
    given = torch.ones_like(x_NO), x_NO.clone(), scale.clone(), 0, True, True, shift
    leaves = {name: leaf.requires_grad_() for name, leaf in leaves.items()}
    x_NO.requires_grad_()

    torch.library.opcheck(registered.scale_shift, (x_NO, scale, leaves.get("shift"), 0))
    torch.library.opcheck(registered.scale_shift_backward, given)


def test_a_compiled_model_holds_them_whole(close):
    case = Case()
    compiled = torch.compile(scale_shift, fullgraph=True, backend="aot_eager")
    with forms.using("triton"):
        expected, found = (
            outcome(case, function, {n: t.requires_grad_() for n, t in case.operands().items()})
            for function in (scale_shift, compiled)
        )

    for name, tensor in found.items():
        close(tensor, expected[name], what=name)
