"""The comparison that GPUs are held to finds what is wrong; here it holds the eager forms to it."""

from dataclasses import replace

import pytest
import torch
from parity import ODD, USUAL, differences, results

HERE = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", ODD, ids=lambda case: case.name)
def test_the_eager_forms_are_what_the_definitions_say(case, dtype):
    assert differences(case, dtype, HERE) == []


def test_an_output_that_is_off_is_found():
    case = ODD[0]
    wrong = replace(case, operator=lambda has: 1.01 * case.operator(has))

    found = differences(wrong, torch.float32, HERE)
    assert [line.partition(": ")[2].split()[0] for line in found] == ["output", "x", "down", "up"]


def test_one_gradient_that_is_off_is_found():
    case = ODD[0]
    half = lambda has: has | {"up": 2 * has["up"].detach() - has["up"]}  # noqa: E731
    wrong = replace(case, operator=lambda has: case.operator(half(has)))

    [found] = differences(wrong, torch.float32, HERE)
    assert ": up is off by 2.0e+00 of its largest" in found


def test_memory_that_nobody_wrote_is_found():
    case = ODD[0]
    hole = torch.zeros(1).index_fill(0, torch.tensor([0]), float("nan"))
    wrong = replace(case, operator=lambda has: case.operator(has) + hole)

    assert "output is off by nan" in differences(wrong, torch.bfloat16, HERE)[0]


@pytest.mark.parametrize("case", [*ODD, *USUAL], ids=lambda case: case.name)
def test_every_case_says_what_it_costs(case):
    found = case.cost(2)

    assert 0 < found.forward.bytes < case.cost(4).forward.bytes
    assert found.backward.flops >= found.forward.flops


def test_frozen_operands_get_no_gradient():
    found = results(ODD[0].operator, ODD[0].operands(torch.float32, HERE))

    assert set(found) == {"output", "x", "down", "up"}
