"""The table of sizes and what it costs."""

import pytest

from autopeft.search_spaces.configuration import Configuration, Slot

QUERY = Slot(method="lora", site="attention.query", blocks=(0, 100), unit=16)
ADAPTER = Slot(method="serial_adapter", site="ffn.norm", blocks=(0, 100), unit=17, fixed=8)
SLOTS = (QUERY, ADAPTER)


def test_the_count_is_the_sum_over_cells_with_what_is_fixed_added_once_a_cell():
    table = Configuration(((2, 0), (0, 3), (1, 1)))

    assert table.parameters(SLOTS) == 2 * 16 + (3 * 17 + 8) + 16 + (17 + 8)


def test_an_absent_cell_costs_nothing():
    assert ADAPTER.parameters(0) == 0
    assert Configuration(((0, 0),)).parameters(SLOTS) == 0


def test_a_table_that_does_not_fit_its_slots_is_our_own_mistake():
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        Configuration(((1,),)).parameters(SLOTS)


def test_methods_are_named_once_in_the_order_of_the_slots():
    slots = (QUERY, Slot(method="lora", site="attention.value", blocks=(0, 100), unit=16), ADAPTER)

    assert Configuration(((0, 1, 2), (1, 0, 0))).methods(slots) == ("lora", "serial_adapter")
    assert Configuration(((0, 0, 2), (0, 0, 0))).methods(slots) == ("serial_adapter",)


def test_a_table_of_zeros_is_empty_and_says_so():
    empty = Configuration(((0, 0), (0, 0)))

    assert empty.empty
    assert not Configuration(((0, 0), (0, 1))).empty
    assert empty.summary(SLOTS) == "nothing but the task head"


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ((8, 8, 8, 8, 8), "lora@attention.query 8"),
        ((8, 0, 0, 0, 0), "lora@attention.query 8 in block 0"),
        ((0, 4, 8, 0, 2), "lora@attention.query 2-8 in blocks 1-2,4"),
        ((1, 1, 0, 1, 1), "lora@attention.query 1 in blocks 0-1,3-4"),
    ],
)
def test_the_summary_says_what_is_where(column, said):
    assert Configuration(tuple((size,) for size in column)).summary((QUERY,)) == said


def test_the_summary_joins_slots_with_semicolons():
    assert (
        Configuration(((1, 3),)).summary(SLOTS)
        == "lora@attention.query 1; serial_adapter@ffn.norm 3"
    )
