"""Operands that are odd, of every operator: a correct result, or an error that names them.

Each operator is called with every operand that it has (``calls.py``); what fits no other operand is
tested beside each operator.
"""

import pytest
import torch

from autopeft.errors import KernelError
from autopeft.kernels.forms import forms_on, using
from tests.kernels.calls import CALLS, SIZES, differences

FORMS = ["naive", "eager"]
EACH = [(name, operand) for name, call in CALLS.items() for operand in call.axes]
AXES = [
    (name, axis)
    for name, call in CALLS.items()
    for axis in SIZES
    if any(axis in part for part in call.axes.values())
]


def operator_of(name):
    return name.partition(" ")[0]


def test_every_operator_is_called():
    assert {*forms_on("cpu")} <= {operator_of(name) for name in CALLS}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CALLS)
def test_the_calls_are_those_of_the_definitions(name, form):
    with using(form):
        assert differences(CALLS[name], CALLS[name].operands()) == []


@pytest.mark.parametrize("dtype", [torch.int32, torch.complex64, torch.float8_e4m3fn])
@pytest.mark.parametrize(("name", "operand"), EACH)
def test_an_operand_of_an_unknown_type_is_named(name, operand, dtype):
    operands = CALLS[name].operands()
    operands[operand] = operands[operand].to(dtype)

    with pytest.raises(
        KernelError, match=rf"{operator_of(name)} cannot take {operand} in {dtype}: its kernels"
    ):
        CALLS[name].operator(operands)


@pytest.mark.parametrize(("name", "operand"), EACH)
def test_an_operand_on_another_device_is_named(name, operand):
    operands = CALLS[name].operands()
    operands[operand] = operands[operand].to("meta")

    with pytest.raises(
        KernelError,
        match=rf"{operator_of(name)} needs all operands on one device: .*{operand} on meta",
    ):
        CALLS[name].operator(operands)


@pytest.mark.parametrize(("name", "operand"), EACH)
def test_an_operand_that_is_not_dense_is_named(name, operand):
    operands = CALLS[name].operands()
    operands[operand] = operands[operand].to_sparse()

    with pytest.raises(
        KernelError, match=rf"{operator_of(name)} cannot take {operand} in torch\.sparse_coo"
    ):
        CALLS[name].operator(operands)


@pytest.mark.parametrize(
    ("name", "operand"),
    [each for each in EACH if each not in {("low_rank", "x"), ("scale_shift", "x")}],
)
def test_an_operand_of_an_axis_more_is_refused(name, operand):
    """Leading axes of x may be any, which only an operand that has them too can contradict."""
    operands = CALLS[name].operands()
    operands[operand] = operands[operand][None].expand(3, *operands[operand].shape)

    with pytest.raises(KernelError, match=rf"{operator_of(name)} (needs|cannot take|takes) "):
        CALLS[name].operator(operands)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("name", "operand"), EACH)
def test_an_operand_may_lie_apart_or_turned(name, operand, form):
    """Every other number of a longer one; the first axis stored last; one row everywhere."""
    operands = CALLS[name].operands()
    plain = operands[operand]
    apart = plain.repeat_interleave(2, -1)[..., ::2]
    turned = plain.movedim(0, -1).contiguous().movedim(-1, 0)
    same = plain[:1].expand(plain.shape)
    with using(form):
        for stored in apart, turned, same:
            assert differences(CALLS[name], operands | {operand: stored}) == []


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("name", "axis"), AXES)
def test_an_axis_may_be_empty(name, axis, form):
    """Heads of keys alone may not: there is none that a query could look at."""
    operands = CALLS[name].operands(**{axis: 0})
    with using(form):
        if axis == "G":
            with pytest.raises(KernelError, match=r"needs query .* where G divides H, and got"):
                CALLS[name].operator(operands)
        else:
            assert differences(CALLS[name], operands) == []


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", [name for name, axis in AXES if axis in "RM"])
def test_a_rank_may_be_above_the_widths(name, form):
    """It is a waste, and no mistake: a slot's largest rank may be that of another."""
    with using(form):
        assert differences(CALLS[name], CALLS[name].operands(R=9, M=9)) == []
