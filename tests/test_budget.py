"""Budgets: what can be written, and how many parameters it allows."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.budget import Budget
from autopeft.errors import BudgetError


@pytest.mark.parametrize(
    ("text", "ceiling"),
    [
        ("1%", 227_132),
        ("0.01", 227_132),
        ("1e-2", 227_132),
        (" 1 % ", 227_132),
        ("0.5%", 113_566),
        (".5", 11_356_608),
        ("100%", 22_713_216),
        ("1.0", 22_713_216),
        ("1", 1),
        ("294912", 294_912),
        ("300k", 300_000),
        ("300K", 300_000),
        ("1.5m", 1_500_000),
        ("2 M", 2_000_000),
        ("0.001k", 1),
    ],
)
def test_a_share_or_a_count_can_be_written_in_these_forms(text, ceiling):
    assert Budget.parse(text).ceiling(22_713_216) == ceiling


def test_a_budget_remembers_how_it_was_written():
    assert Budget.parse(" 1.5% ").text == "1.5%"


def test_a_count_does_not_depend_on_the_backbone():
    assert Budget.parse("300k").ceiling(10) == 300_000


@pytest.mark.parametrize(
    ("text", "parameters", "ceiling"),
    [
        ("29%", 100, 29),  # 0.29 * 100 is 28.999999999999996
        ("0.29%", 10_000, 29),
        ("1.001k", 0, 1001),  # 1.001 * 1000 is 1000.9999999999999
        ("99.9999999999%", 10**9, 999_999_999),  # 999999999.999, however near to a whole
        ("1%", 199, 1),
        ("1e-9%", 10**9, 0),
        ("99999999999999999999999", 1, 99_999_999_999_999_999_999_999),
    ],
)
def test_rounding_is_down_and_exact(text, parameters, ceiling):
    assert Budget.parse(text).ceiling(parameters) == ceiling


@settings(max_examples=100, deadline=None, derandomize=True)
@given(thousandths=st.integers(1, 100_000), parameters=st.integers(1, 10**12))
def test_a_share_allows_the_largest_whole_number_that_is_not_above_it(thousandths, parameters):
    exact = Fraction(thousandths, 100_000) * parameters

    ceiling = Budget.parse(f"{thousandths / 1000}%").ceiling(parameters)

    assert ceiling <= exact < ceiling + 1


ALLOWED = r": write a share of the backbone such as '1%' or '0\.01', or a count such as '300k'"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((text, rf"cannot read budget '{text}'{ALLOWED}")
          for text in ("abc", "", "%", "nan", "inf", "-inf", "nan%", "1%%", "1,000", "1g", "0x10",
                       "k", "-3k", "one percent")),
        *((text, rf"budget '{text}' must be above 0% and at most 100%{ALLOWED}")
          for text in ("0%", "0.0", "-1%", "-0.5", "200%", "100.1%", "1.01", "1e5", "1e400%",
                       "1e-400%")),
        *((text, rf"budget '{text}' allows no parameter at all{ALLOWED}")
          for text in ("0", "-5", "0k", "0.0005k")),
    ],
)  # fmt: skip
def test_what_is_no_budget_is_refused_with_what_can_be_written(text, message):
    with pytest.raises(BudgetError, match=message):
        Budget.parse(text)
