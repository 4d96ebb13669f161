"""Tables that go to another size of the same family."""

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.backbone import Backbone
from autopeft.errors import BudgetError, SpaceError
from autopeft.search_spaces.catalog import slots_of
from autopeft.search_spaces.checking import faults
from autopeft.search_spaces.configuration import Configuration
from autopeft.search_spaces.transferring import transferred
from tests.shapes import shape_from_config

NAMES = (
    "lora@attention.query",
    "bitfit@block",
    "serial_adapter@ffn.norm",
    "prompt_tuning@embeddings",
    "dora@attention.query",
)


@cache
def shape(blocks: int, width: int) -> Backbone:
    """A BERT of some depth and width."""
    return shape_from_config(
        "bert", vocab_size=24, hidden_size=width, num_hidden_layers=blocks, num_attention_heads=4,
        intermediate_size=2 * width, max_position_embeddings=40,
    )  # fmt: skip


SMALL = shape(4, 32)
SLOTS = tuple(slot for slot in slots_of(SMALL) if slot.name in NAMES)
QUERY = next(place for place, slot in enumerate(SLOTS) if slot.name == "lora@attention.query")


def table(draw_sizes) -> Configuration:
    """Keep what the slots can hold."""
    return Configuration(
        tuple(
            tuple(
                min(size, slot.most or size) if slot.has(block) and not out(slot, row) else 0
                for slot, size in zip(SLOTS, row, strict=True)
            )
            for block, row in enumerate(draw_sizes)
        )
    )


def out(slot, row):
    """Of LoRA and DoRA at one matrix there is one at most."""
    return slot.method == "dora" and row[QUERY]


TABLES = st.lists(
    st.lists(st.integers(0, 9), min_size=len(SLOTS), max_size=len(SLOTS)), min_size=4, max_size=4
).map(table).filter(lambda found: not found.empty)  # fmt: skip


def move(configuration, to, *, ceiling=None, to_ceiling=None):
    own = configuration.parameters(SLOTS)
    ceiling = own if ceiling is None else ceiling
    to_ceiling = ceiling if to_ceiling is None else to_ceiling
    return transferred(
        configuration, SLOTS, SMALL, to, ceiling=ceiling, to_ceiling=to_ceiling
    )  # fmt: skip


def column(slots, configuration, name):
    place = next(place for place, slot in enumerate(slots) if slot.name == name)
    return [row[place] for row in configuration.sizes]


def queries(*sizes):
    return Configuration(
        tuple(tuple(size if place == QUERY else 0 for place in range(len(SLOTS))) for size in sizes)
    )


@settings(max_examples=40, deadline=None)
@given(TABLES, st.integers(0, 500))
def test_the_same_backbone_and_budget_give_the_same_table(configuration, spare):
    ceiling = configuration.parameters(SLOTS) + spare

    assert move(configuration, SMALL, ceiling=ceiling) == (SLOTS, configuration)


@settings(max_examples=40, deadline=None)
@given(TABLES, st.integers(1, 9), st.sampled_from([16, 32, 64, 96]), st.integers(1, 30_000))
def test_no_budget_is_ever_exceeded_and_no_table_is_faulty(configuration, blocks, width, ceiling):
    try:
        slots, found = move(configuration, shape(blocks, width), to_ceiling=ceiling)
    except BudgetError:
        return

    assert 0 < found.parameters(slots) <= ceiling
    assert not list(faults(found, slots))


def test_cells_go_to_their_relative_depth():
    slots, found = move(queries(4, 0, 0, 2), shape(8, 32), to_ceiling=100_000)

    present = [bool(size) for size in column(slots, found, "lora@attention.query")]
    assert present == [True, True, False, False, False, False, True, True]


def test_in_a_shallower_model_no_cell_is_lost():
    slots, found = move(queries(4, 0, 0, 2), shape(2, 32), to_ceiling=100_000)

    assert all(column(slots, found, "lora@attention.query"))


def test_a_share_of_the_backbone_makes_ranks_grow_with_the_width():
    """Twice the width is four times the parameters, and twice the cost of a rank."""
    small = queries(4, 4, 2, 2)
    ceiling = small.parameters(SLOTS)

    slots, found = move(small, shape(4, 64), ceiling=ceiling, to_ceiling=4 * ceiling)

    assert column(slots, found, "lora@attention.query") == [8, 8, 4, 4]


def test_half_of_a_budget_stays_half_of_it():
    small = queries(4, 4, 4, 4)
    ceiling = 2 * small.parameters(SLOTS)

    slots, found = move(small, SMALL, ceiling=ceiling, to_ceiling=2 * ceiling)

    assert found.parameters(slots) == ceiling


def test_what_was_smallest_and_deepest_goes_first_where_nothing_else_fits():
    small = queries(4, 1, 1, 2)
    one = SLOTS[QUERY].unit

    slots, found = move(small, SMALL, to_ceiling=3 * one)

    assert column(slots, found, "lora@attention.query") == [1, 1, 0, 1]


def test_a_budget_that_no_cell_fits_into_is_refused():
    with pytest.raises(
        BudgetError,
        match=r"no cell of the plan fits into 3 parameters: the smallest, lora@.* of si",
    ):
        move(queries(4, 1, 1, 2), SMALL, to_ceiling=3)


def test_another_family_is_refused_with_the_reason():
    other = replace(SMALL, architecture="gpt2", name="other")

    with pytest.raises(
        SpaceError, match=r"'other' is of the family 'gpt2', and the plan is for .*"
    ):
        move(queries(1, 1, 1, 1), other)


def test_a_model_that_lacks_a_place_is_refused():
    sites = tuple(site for site in SMALL.sites if site.place != "attention.query")

    with pytest.raises(SpaceError, match=r"has no attention\.query for the plan's lora@attention"):
        move(queries(1, 1, 1, 1), replace(SMALL, sites=sites))
