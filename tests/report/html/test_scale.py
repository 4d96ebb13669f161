"""Scales of pictures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopeft.report.html.scale import Scale, ends

NUMBERS = st.lists(st.floats(-1e12, 1e12, allow_nan=False), min_size=1, max_size=9)


@given(NUMBERS, st.none() | st.just(0.0))
def test_every_value_lies_between_the_ends_and_there_are_a_few_ticks(values, least):
    low, high = ends(values, least)
    scale = Scale(low=low, high=high, first=0.0, last=100.0)

    assert all(-1e-6 <= scale(value) <= 100 + 1e-6 for value in values)
    assert 1 <= len(scale.ticks(5)) <= 12


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
        (0.0, 113_000.0, (0.0, 50_000.0, 100_000.0)),
        (-0.01, 0.03, (-0.01, 0.0, 0.01, 0.02, 0.03)),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert Scale(low=low, high=high, first=0.0, last=1.0).ticks(5) == expected


def test_equal_values_have_room_around_them_and_an_axis_may_begin_at_zero():
    assert ends([0.5, 0.5]) == pytest.approx((0.47, 0.53))
    assert ends([1.0, 2.0], least=0.0) == pytest.approx((0.0, 2.12))
    assert ends([0.0]) == pytest.approx((-0.06, 0.06))
    assert ends([-1.0, 1.0], least=0.0)[0] < -1
