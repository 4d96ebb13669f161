"""Published configurations: read, laid over a backbone, and held to a budget."""

import pytest

from autopeft.errors import BudgetError, SpaceError
from autopeft.search_spaces.catalog import slots_of
from autopeft.search_spaces.checking import faults
from autopeft.search_spaces.written.named import (
    named_configuration,
    named_configurations,
    parse_configuration,
)
from autopeft.search_spaces.written.reading import known_spaces
from tests.builders import BERT_BASE, TINY
from tests.shapes import published

SLOTS = slots_of(BERT_BASE)
every_configuration = pytest.mark.parametrize(
    "named", named_configurations(), ids=lambda named: named.name
)


@every_configuration
def test_every_published_configuration_has_a_source_and_fits_its_kind_of_backbone(named):
    backbone = published("t5-base") if named.name == "cross-attention" else BERT_BASE
    slots = named.slots(slots_of(backbone))

    found = named.on(backbone, slots, 10**8)

    assert named.summary
    assert named.paper
    assert named.verified or named.unverified
    assert not found.empty
    assert not list(faults(found, slots))


@every_configuration
def test_one_that_follows_from_the_budget_keeps_it(named):
    if named.filled:
        for ceiling in (60_000, 547_411, 5_000_000):
            slots = named.slots(SLOTS)
            assert named.on(BERT_BASE, slots, ceiling).parameters(slots) <= ceiling


def test_every_start_of_a_known_space_is_made_of_slots_of_the_space():
    for text in known_spaces():
        space = text.on(BERT_BASE, 10**6)
        for name in space.start_from:
            assert named_configuration(name).columns(space.slots)


def test_a_span_is_a_part_of_every_stack():
    text = "cells: [{slots: [lora@ffn.input], size: 2, span: [1/3, 3/4]}]"
    slots = slots_of(BERT_BASE)

    found = parse_configuration(text, "own.yaml").on(BERT_BASE, slots, None)

    assert found.summary(slots) == "lora@ffn.input 2 in blocks 4-8"


def test_a_size_above_the_largest_that_a_slot_can_take_counts_as_that_one():
    slots = slots_of(TINY)

    found = named_configuration("llm-adapters-lora-r32").on(TINY, slots, None)

    assert "lora@attention.query 8;" in found.summary(slots)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(
        SpaceError, match=r"there is no named configuration 's5': there are bitfit, .*s4-t5-base"
    ):
        named_configuration("s5")


def test_a_budget_is_asked_for_where_sizes_follow_from_it():
    named = named_configuration("s4-t5-base")

    with pytest.raises(
        SpaceError, match=r"sizes of the configuration 's4-t5-base' follow from the budget: name"
    ):
        named.within(BERT_BASE, SLOTS, None)


def test_what_is_over_the_budget_is_refused_with_its_count():
    named = named_configuration("lora-r8-qv")

    assert named.within(BERT_BASE, SLOTS, 294_912).parameters(SLOTS) == 294_912
    with pytest.raises(
        BudgetError,
        match=r"'lora-r8-qv' trains 294,912 parameters \(0\.2694% of the backbone\), and the "
        r"budget allows 294,911: raise it",
    ):
        named.within(BERT_BASE, SLOTS, 294_911)


def test_a_budget_that_leaves_nothing_is_refused():
    with pytest.raises(
        BudgetError, match=r"a budget of 100 parameters leaves nothing of the .* 's4-t5-base'"
    ):
        named_configuration("s4-t5-base").within(BERT_BASE, SLOTS, 100)


def test_a_backbone_that_is_too_shallow_is_refused():
    text = "cells: [{slots: [lora@attention.query], size: 1, span: [9/10, 1]}]"

    with pytest.raises(SpaceError, match=r"has nothing in any of the 2 blocks of this backbone"):
        parse_configuration(text, "own.yaml").within(TINY, slots_of(TINY), None)


def test_a_backbone_that_lacks_a_slot_is_refused_with_the_configuration():
    with pytest.raises(
        SpaceError,
        match=r"the configuration 'cross-attention' does not fit this model: there is no slot .*; "
        r"take another one \('autopeft spaces published'\) or another model",
    ):
        named_configuration("cross-attention").slots(slots_of(TINY))


def test_a_backbone_that_lacks_a_slot_is_refused():
    named = parse_configuration("cells: [{slots: [lora@cross.query], size: 1}]", "own.yaml")

    with pytest.raises(SpaceError, match=r"there is no slot 'lora@cross\.query' on this backbone"):
        named.slots(SLOTS)


CELL = "cells: [{slots: [lora@ffn.input], size: 1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a", r"own\.yaml, line 1: a configuration must have 'cells'"),
        ("cells: []", r"line 1: 'cells' must be a list such as"),
        ("cells: [{size: 1}]", r"line 1: an entry of 'cells' must have 'slots' and 'size'"),
        ("cells: [{slots: [a], size: 0}]", r"'size' must be a whole number above 0, or budget"),
        ("cells: [{slots: [a], size: many}]", r"'size' must be a whole number above 0, or budget"),
        (CELL + ", span: [1/2]}]", r"'span' must be two shares of the depth, the smaller first"),
        (CELL + ", span: [1, 1/2]}]", r"'span' must be two shares of the depth, the smaller"),
        (CELL + ", span: [0, deep]}]", r"an end of 'span' must be a share such as 0\.25 or 7/24"),
        (CELL + ", groups: [1]}]", r"'groups' must be numbers of layer groups, from 1 to 0"),
        (CELL + "}]\nlayer_groups: {count: 4}", r"line 2: 'layer_groups' must have 'count', above"),
        (CELL + "}]\nlayer_groups: {count: 4, pattern: cone}", r"line 2: 'pattern' must be one of"),
    ],
)
def test_a_malformed_configuration_is_refused_with_its_line(text, message):
    with pytest.raises(SpaceError, match=message):
        parse_configuration(text, "own.yaml")
