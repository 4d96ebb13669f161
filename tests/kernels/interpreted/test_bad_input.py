"""Operands that are odd, of every operator, in Triton's interpreter: ``../test_bad_input.py``."""

import pytest
import torch

from autopeft.errors import KernelError
from autopeft.kernels.forms import using
from tests.kernels.calls import CALLS, differences
from tests.kernels.test_bad_input import AXES, EACH, operator_of


@pytest.fixture(autouse=True)
def _in_triton():
    with using("triton"):
        yield


@pytest.mark.parametrize("name", CALLS)
def test_the_calls_are_those_of_the_definitions(name):
    assert differences(CALLS[name], CALLS[name].operands()) == []


@pytest.mark.parametrize("dtype", [torch.float64, torch.int32, torch.float8_e4m3fn])
@pytest.mark.parametrize(("name", "operand"), EACH)
def test_an_operand_of_an_unknown_type_is_named(name, operand, dtype):
    """Double precision as well, which a processor takes."""
    operands = CALLS[name].operands()
    operands[operand] = operands[operand].to(dtype)

    with pytest.raises(
        KernelError, match=rf"{operator_of(name)} cannot take {operand} in {dtype}: its kernels"
    ):
        CALLS[name].operator(operands)


@pytest.mark.parametrize(("name", "operand"), EACH)
def test_an_operand_may_lie_apart_or_turned(name, operand):
    operands = CALLS[name].operands()
    plain = operands[operand]
    apart = plain.repeat_interleave(2, -1)[..., ::2]
    turned = plain.movedim(0, -1).contiguous().movedim(-1, 0)
    for stored in apart, turned:
        assert differences(CALLS[name], operands | {operand: stored}) == []


# A norm of no numbers divides by their number, and reads nothing of what comes out.
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize(("name", "axis"), [(name, axis) for name, axis in AXES if axis != "G"])
def test_an_axis_may_be_empty(name, axis):
    assert differences(CALLS[name], CALLS[name].operands(**{axis: 0})) == []


@pytest.mark.parametrize("name", [name for name, axis in AXES if axis in "RM"])
def test_a_rank_may_be_above_the_widths(name):
    assert differences(CALLS[name], CALLS[name].operands(R=9, M=9)) == []
