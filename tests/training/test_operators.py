"""Which operators ran is seen from outside, by form."""

import importlib.util
import sys

import pytest
import torch

from autopeft.kernels.forms import using
from autopeft.kernels.lora_linear.operator import lora_linear
from autopeft.kernels.prefix_attention import eager, naive
from autopeft.kernels.prefix_attention.operator import prefix_attention
from autopeft.training.operators import operators_in
from tests.kernels.calls import CALLS


def lora(dropout=0.0):
    one = torch.ones(2, 2)
    return lora_linear(one, one, None, one, one, 1.0, dropout=dropout)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("form", ["naive", "eager"])
def test_the_form_that_ran_is_named(form, dropout):
    """It alone: neither what chose it, nor the other forms beside it."""
    with using(form):
        assert operators_in(lambda: lora(dropout)) == (f"lora_linear ({form})",)


def test_what_a_form_borrows_from_another_is_part_of_it():
    """The fast attention joins the prefix as the definition does, and is not two forms."""
    given = [torch.ones(1, 1, 2, 2)] * 3

    def attend():
        return eager.prefix_attention(*given, (torch.ones(1, 2), torch.ones(1, 2)), None, 1.0)

    assert operators_in(attend) == ("prefix_attention (eager)",)
    assert operators_in(lambda: naive.prefix_attention(*given, None, None, 1.0)) == (
        "prefix_attention (naive)",
    )


@pytest.mark.parametrize("asked", [{"softcap": 2.0}, {"gate_BTP": torch.ones(1, 2, 1)}], ids=str)
def test_what_one_form_alone_can_do_is_named_by_that_form(asked):
    """A processor's fast attention has neither gates nor a softcap."""
    given = [torch.ones(1, 1, 2, 2)] * 3
    prefix = torch.ones(1, 2), torch.ones(1, 2)

    def attend(**asked):
        return prefix_attention(*given, prefix, None, 1.0, **asked)

    assert operators_in(attend) == ("prefix_attention (eager)",)
    assert operators_in(lambda: attend(**asked)) == ("prefix_attention (naive)",)


def test_no_form_hands_a_whole_call_over_to_another():
    """What a form calls is not named beside it, so that the choice is the operator's alone."""
    handed = set()

    def look(frame, event, _):
        inner, outer = (
            x and (x.f_globals["__name__"], x.f_code.co_name) for x in (frame, frame.f_back)
        )
        if event == "call" and outer and inner[1] == outer[1] and inner[0] != outer[0]:
            handed.update([(outer[0].split(".")[-1], inner[0].split(".")[-1], inner[1])])

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        for call in CALLS.values():
            call.operator(call.operands())
    finally:
        sys.setprofile(before)

    names = {name.partition(" ")[0] for name in CALLS}
    assert {name for *_, name in handed} & names
    assert [each for each in handed if each[2] in names and each[0] != "operator"] == []


def test_several_operators_are_named_in_the_order_of_the_alphabet():
    given = [torch.ones(1, 1, 2, 2)] * 3

    def both():
        eager.prefix_attention(*given, None, None, 1.0)
        lora()

    assert operators_in(both) == ("lora_linear (eager)", "prefix_attention (eager)")


def test_a_form_that_is_imported_on_the_way_has_not_run():
    found = importlib.util.find_spec("autopeft.kernels.lora_linear.naive")
    module = importlib.util.module_from_spec(found)

    assert operators_in(lambda: found.loader.exec_module(module)) == ()
    one = torch.ones(1, 1)
    assert operators_in(lambda: module.low_rank(one, one, one, 1.0)) == ("lora_linear (naive)",)


def test_who_looked_on_before_looks_on_again():
    def before(*_):
        return None

    sys.setprofile(before)
    try:
        operators_in(lora)
        assert sys.getprofile() is before
    finally:
        sys.setprofile(None)
