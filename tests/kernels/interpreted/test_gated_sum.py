"""The kernels of gated sums against their definition: output and every gradient."""

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autopeft.kernels import forms
from autopeft.kernels.gated_sum import naive, registered
from autopeft.kernels.gated_sum.operator import gated_sum

FLOAT, HALF, BRAIN = torch.float32, torch.float16, torch.bfloat16


@dataclass(frozen=True, kw_only=True)
class Case:
    """Sizes and types; gates are one a text and one a token, in turn."""

    B: int = 2
    T: int = 7
    O: int = 20  # noqa: E741  # axes
    parts: int = 1
    dtype: torch.dtype = FLOAT
    gate: torch.dtype = FLOAT

    def operands(self):
        """Return the base, the deltas and the gates, in this order."""
        generator = torch.Generator().manual_seed(3)
        streams = [(self.B, self.T, self.O)] * (1 + self.parts)
        gates = [(self.B, self.T if k % 2 else 1) for k in range(self.parts)]
        return [torch.randn(*size, generator=generator).to(self.dtype) for size in streams] + [
            torch.rand(*size, generator=generator).to(self.gate) for size in gates
        ]


def outcome(case, function, leaves):
    """Return output and gradients for a fixed upstream gradient of the stream's type."""
    base, *rest = leaves
    out = function(base, rest[: case.parts], rest[case.parts :])
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(9)).to(case.dtype)
    out.backward(upstream.to(out.dtype))
    return [out.detach(), *(leaf.grad for leaf in leaves)]


def agrees(case, close):
    """Compare the kernels with the definition in double precision, on the same rounded numbers."""
    operands = case.operands()
    exact = outcome(case, naive.gated_sum, [t.double().requires_grad_() for t in operands])
    with forms.using("triton"):
        found = outcome(case, gated_sum, [t.requires_grad_() for t in operands])
    for place, (one, other) in enumerate(zip(found, exact, strict=True)):
        assert one.dtype == [operands[0], *operands][place].dtype
        # A gate's gradient is one sum, of numbers about one.
        close(one, other, dtype=case.dtype, what=f"number {place}", least=1.0)


@pytest.mark.parametrize(("B", "T", "O"), [
    (1, 1, 1), (2, 63, 33), (1, 130, 17), (3, 5, 500), (2, 64, 256),
])  # fmt: skip
def test_sizes_that_fit_no_block_agree(B, T, O, close):  # noqa: E741  # axes
    agrees(Case(B=B, T=T, O=O, parts=2), close)


@pytest.mark.parametrize("parts", [0, 1, 2, 3, 4, 5, 9])
def test_any_number_of_parts_is_added_up(parts, close):
    agrees(Case(parts=parts), close)


@pytest.mark.parametrize(("dtype", "gate"), [
    (BRAIN, BRAIN), (BRAIN, FLOAT), (HALF, HALF), (HALF, FLOAT),
])  # fmt: skip
def test_half_precision_agrees_to_its_rounding(dtype, gate, close):
    """Gates may be of single precision, and have gradients of it."""
    agrees(Case(parts=2, dtype=dtype, gate=gate), close)


@pytest.mark.parametrize("empty", [{"B": 0}, {"T": 0}, {"O": 0}])
def test_what_is_empty_gives_what_the_definition_gives(empty, close):
    agrees(replace(Case(parts=2), **empty), close)


# Each call works its way through the interpreter, so few examples, and small ones.
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    case=st.builds(
        Case, B=st.integers(0, 3), T=st.integers(1, 30), O=st.integers(1, 300),
        parts=st.integers(1, 4),
    )
)  # fmt: skip
def test_any_shape_agrees(case, close):
    agrees(case, close)


def test_rows_without_texts_are_taken(close):
    """Where batch and tokens are one axis already, a gate has a number for each row, or one."""
    generator = torch.Generator().manual_seed(0)
    base, one, two = (torch.randn(12, 20, generator=generator) for _ in range(3))
    gates = torch.rand(12, generator=generator), torch.rand(1, generator=generator)

    with forms.using("triton"):
        found = gated_sum(base, [one, two], gates)

    close(found, naive.gated_sum(base, [one, two], gates))


def test_operands_of_any_strides_are_taken(close):
    base, delta, gate = Case().operands()
    given = [t.transpose(0, 1).contiguous().transpose(0, 1) for t in (base, delta)]

    with forms.using("triton"):
        found = gated_sum(given[0], [given[1]], [gate.expand(-1, 7)])

    close(found, naive.gated_sum(base, [delta], [gate]))


@pytest.mark.parametrize("frozen", [(0,), (1,), (2,), (0, 1), (0, 2)])
def test_only_what_takes_a_gradient_gets_one(frozen):
    """Numbers of operands: base, delta, gate."""
    case = Case()
    leaves = [t.requires_grad_(k not in frozen) for k, t in enumerate(case.operands())]

    with forms.using("triton"):
        _, *grads = outcome(case, gated_sum, leaves)

    assert tuple(k for k, grad in enumerate(grads) if grad is None) == frozen


def test_they_are_operators_of_pytorch():
    """Schema, autograd, fake tensors and ``aot_autograd`` with symbolic shapes."""
    generator = torch.Generator().manual_seed(0)
    base, *deltas = (torch.randn(6, 20, generator=generator) for _ in range(3))
    gates = [torch.rand(6, generator=generator) for _ in range(2)]
    given = (torch.ones_like(base), deltas[0].clone(), gates[0].clone(), True, True)
    for tensor in (base, *deltas, *gates):
        tensor.requires_grad_()

    torch.library.opcheck(registered.gated_sum, (base, deltas, gates))
    torch.library.opcheck(registered.gated_sum_backward, given)


def test_a_compiled_model_holds_them_whole(close):
    case = Case(parts=2)
    compiled = torch.compile(gated_sum, fullgraph=True, backend="aot_eager")
    with forms.using("triton"):
        expected, found = (
            outcome(case, function, [t.requires_grad_() for t in case.operands()])
            for function in (gated_sum, compiled)
        )

    for place, tensor in enumerate(found):
        close(tensor, expected[place], what=f"number {place}")
