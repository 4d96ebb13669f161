"""What no backbone could hold is refused, with the lines that say so."""

import re

import pytest

from autopeft.errors import SpaceError
from autopeft.search_spaces.written.reading import parse_space, read_space
from tests.builders import TINY


def laid(text):
    return parse_space(f"name: ours\n{text}", "own.yaml").on(TINY)


def test_sizes_that_are_all_too_large_are_refused():
    with pytest.raises(
        SpaceError,
        match=r"space 'ours' \(own\.yaml, line 2\): its sizes above 0 begin at 9, and "
        r"lora@attention\.query takes 0 to 8 here: add such sizes, or take another backbone",
    ):
        laid("groups: [{slots: ['lora@attention.query'], sizes: [0, 9, 12]}]")


def test_a_single_size_that_is_too_large_counts_as_the_largest():
    (first, *_) = laid("groups: [{slots: ['lora@attention.query'], sizes: [0, 4, 12]}]").genes

    assert first.choices == (0, 4, 8)


def test_a_switch_that_a_pattern_finds_on_the_backbone_has_no_size_but_one():
    """What a pattern of several methods finds is known on a backbone only."""
    with pytest.raises(SpaceError, match=r"above 0 begin at 7, and bitfit@block takes 0 to 1 here"):
        laid("groups: [{slots: ['*@block'], sizes: [0, 7], tie: slots}]")


def test_a_published_space_can_be_too_large_for_a_tiny_backbone():
    with pytest.raises(SpaceError, match=r"space 'shears' .* begin at 16, .* takes 0 to 8 here"):
        read_space("shears").on(TINY)


def test_slots_that_clash_cannot_be_tied_to_each_other():
    with pytest.raises(
        SpaceError,
        match=r"\(own\.yaml, line 2\): bitfit@block and layer_norm@ffn\.norm cannot both be in a "
        r"block, .*, and the group ties them to each other: leave one of them out, or untie them",
    ):
        laid("groups: [{slots: [bitfit@block, layer_norm@ffn.norm], sizes: [0, 1], tie: slots}]")


BOTH = """
groups:
  - {name: one, slots: [lora@attention.query], sizes: [2, 4]}
  - {name: other, slots: [dora@attention.query], sizes: [%s]}
"""


def test_slots_that_clash_cannot_both_be_there_always():
    with pytest.raises(
        SpaceError,
        match=r"\(own\.yaml, line 4 and own\.yaml, line 5\): lora@attention\.query and "
        r"dora@attention\.query cannot both be in a block, .*, and neither can be absent: add the "
        r"size 0 to lora@attention\.query, or put their groups into 'one_of'",
    ):
        laid(BOTH % 2)


def test_slots_that_clash_may_be_there_one_at_a_time():
    assert laid((BOTH % 2).replace("[2, 4]", "[0, 4]")).size == 2**2
    assert laid(f"{BOTH % 2}one_of: [{{groups: [one, other]}}]").size > 1


def test_what_a_wildcard_finds_twice_gives_way():
    """A fused matrix and its parts are both found by ``*``; that is no contradiction."""
    space = laid("groups: [{slots: ['*@block', '*@ffn'], sizes: [0, 1], tie: slots}]")

    assert space.size > 1


def test_a_space_of_nothing_but_gates_is_refused():
    with pytest.raises(
        SpaceError, match=r"no configuration of the space 'ours' trains anything: all that it"
    ):
        laid(
            "groups: [{slots: ['gate@*'], sizes: [0, 1]}, "
            "{slots: [prefix@cross], sizes: [0, 1], optional: true}]"
        ).smallest()


@pytest.mark.parametrize(
    ("slot", "said"),
    [
        ("lora@attention.qkv", "the sites of 'lora' here are attention.query, "),
        ("lora@dec*", "there is no slot 'lora@dec*' on this backbone: the sites of 'lora' here"),
        ("lora@decodr.cross.query", "the sites of 'lora' here are attention.query, "),
        ("lorra@attention.query", "there is no method 'lorra'; did you mean 'lora'?"),
        ("wxyz@ffn", "there is no method 'wxyz'; 'autopeft methods' lists them"),
        ("tiny_attention@*", "there is no method 'tiny_attention'"),
    ],
)
def test_a_slot_that_is_not_there_is_refused_with_what_is(slot, said):
    with pytest.raises(SpaceError, match=re.escape(said)):
        laid(f"groups: [{{slots: ['{slot}'], sizes: [0, 1]}}]")


NEVER = """
groups:
  - {slots: [%s], sizes: [%s]}
  - {slots: [layer_norm@ffn.norm], sizes: [0, 1]}
"""


def test_a_slot_that_always_gives_way_is_refused_with_both_lines():
    with pytest.raises(
        SpaceError,
        match=r"\(own\.yaml, line 4 and own\.yaml, line 5\): layer_norm@ffn\.norm can never be "
        r"there, as bitfit@block in the same block takes what it needs and cannot be absent: add "
        r"the size 0 to that one, or leave layer_norm@ffn\.norm out",
    ):
        laid(NEVER % ("bitfit@block", "1"))


def test_a_slot_that_gives_way_to_what_gives_way_itself_may_be_there():
    """One that stays away now and then leaves its place to the next but one."""
    assert laid(NEVER % ("bitfit@block", "0, 1")).size == 2**2 * 2**2
    assert laid((NEVER % ("bitfit@block", "1")) + "switches: true").size > 1
    assert laid((NEVER % ("bitfit@block", "1")).replace("1]}", "1], last: [1/2, 1]}", 1)).size > 1
