"""Layer groups, and sizes that follow from a budget."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.search_spaces.allocation import PATTERNS, Unit, fill_rows, group_sizes
from autopeft.search_spaces.configuration import Slot

LORA = Slot(method="lora", site="attention.query", blocks=(0, 4), unit=16, most=8)
ADAPTER = Slot(method="serial_adapter", site="ffn.norm", blocks=(0, 4), unit=17, fixed=8)
BITFIT = Slot(method="bitfit", site="block", blocks=(0, 4), unit=30, most=1)
SLOTS = (LORA, ADAPTER, BITFIT)


def filled(units: list[Unit], ceiling: int, *, weights=(1, 1, 1, 1), table=None):
    table = table or [[0] * len(SLOTS) for _ in weights]
    fill_rows(table, units, SLOTS, weights, ceiling)
    return table


@pytest.mark.parametrize(
    ("pattern", "sizes"),
    [
        ("increasing", (1, 2, 4, 5)),
        ("uniform", (3, 3, 3, 3)),
        ("decreasing", (5, 4, 2, 1)),
        ("spindle", (2, 4, 4, 2)),
        ("bottleneck", (4, 2, 2, 4)),
    ],
)
def test_twelve_blocks_are_divided_as_the_pattern_says(pattern, sizes):
    """The inequalities of the paper hold: N1 < N2 = N3 > N4 of a spindle, for one."""
    assert group_sizes(pattern, 12, 4) == sizes


@given(st.sampled_from(list(PATTERNS)), st.integers(1, 100), st.integers(2, 6))
@settings(derandomize=True, max_examples=50, deadline=None)
def test_every_block_is_in_one_group(pattern, blocks, count):
    sizes = group_sizes(pattern, blocks, count)

    assert sum(sizes) == blocks
    assert min(sizes) == 0 if blocks < count else min(sizes) > 0


def test_a_block_pays_what_is_switched_first_and_shares_the_rest_equally():
    """100 a block: 30 for biases, 35 each for rank 2 (32) and width 1 (25)."""
    units = [Unit(row, (column,)) for row in range(4) for column in range(3)]

    assert filled(units, 400) == [[2, 1, 1]] * 4


def test_slots_of_one_unit_take_one_size():
    both = (LORA, LORA)
    table = [[0, 0]]

    fill_rows(table, [Unit(0, (0, 1))], both, [1], 100)

    assert table == [[3, 3]]


def test_a_heavier_block_gets_more_in_proportion():
    units = [Unit(row, (0,)) for row in range(4)]

    assert [row[0] for row in filled(units, 160, weights=(1, 2, 3, 4))] == [1, 2, 3, 4]


def test_what_cannot_have_size_one_is_left_out_and_the_others_do_not_pay_for_it():
    """20 allow rank 1, which is 16, and no adapter, which would begin at 25."""
    units = [Unit(0, (0,)), Unit(0, (1,))]

    assert filled(units, 20)[0] == [1, 0, 0]


def test_blocks_that_cannot_have_anything_are_left_out_from_the_last_on():
    units = [Unit(row, (0,)) for row in range(4)]

    assert [row[0] for row in filled(units, 40)] == [1, 1, 0, 0]


def test_what_stands_in_the_table_already_is_paid_first():
    table = [[0, 0, 1]]

    assert filled([Unit(0, (0,))], 62, weights=(1,), table=table) == [[2, 0, 1]]


def test_a_size_stops_at_the_largest_that_the_slot_can_take():
    assert filled([Unit(0, (0,))], 10_000)[0][0] == 8


def test_what_stands_in_rows_without_units_is_paid_too():
    """Biases of 30 in the last row leave 70 to the first."""
    table = [[0, 0, 0], [0, 0, 1]]

    assert filled([Unit(0, (0,))], 100, weights=(1, 1), table=table) == [[4, 0, 0], [0, 0, 1]]


def test_a_row_that_is_left_out_goes_on_paying_for_what_stands_in_it():
    """The second row's half of 70 does not reach for biases of 30 and rank 1; 40 are left."""
    units = [Unit(0, (0,)), Unit(1, (0,))]
    table = [[0, 0, 0], [0, 0, 1]]

    assert filled(units, 70, weights=(1, 1), table=table) == [[2, 0, 0], [0, 0, 1]]


every_cell = [(row, column) for row in range(4) for column in range(3)]


@given(
    st.dictionaries(st.sampled_from(every_cell), st.booleans()),
    st.tuples(*[st.integers(1, 4)] * 4),
    st.integers(0, 900),
)
@settings(derandomize=True, max_examples=150, deadline=None)
def test_the_ceiling_is_kept_unless_what_stands_there_already_is_over_it(cells, weights, ceiling):
    """A cell that is True is a unit, one that is False stands at size 1 already."""
    table = [[int(cells.get((row, c)) is False) for c in range(3)] for row in range(4)]
    fixed = total(table)

    units = [Unit(row, (column,)) for (row, column), free in sorted(cells.items()) if free]
    fill_rows(table, units, SLOTS, weights, ceiling)

    assert total(table) <= max(ceiling, fixed)


def total(table):
    return sum(s.parameters(size) for row in table for s, size in zip(SLOTS, row, strict=True))
