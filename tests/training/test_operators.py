"""Which operators ran is seen from outside, by form."""

import importlib.util
import sys

import pytest
import torch

from autopeft.kernels.forms import using
from autopeft.kernels.lora_linear.operator import lora_linear
from autopeft.kernels.prefix_attention import eager, naive
from autopeft.training.operators import operators_in


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
