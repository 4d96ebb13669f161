"""What a table of sizes may not hold."""

from dataclasses import replace

import pytest

from autopeft.backbone import Site
from autopeft.search_spaces.catalog import slots_of
from autopeft.search_spaces.checking import clashes, faults, partners
from autopeft.search_spaces.configuration import Configuration
from tests.builders import TINY

SLOTS = slots_of(TINY)
FUSED = replace(
    TINY,
    sites=(
        *(
            replace(site, path="l.{block}.qkv", start=start)
            for site, start in zip(TINY.sites[:3], (0, 8, 16), strict=True)
        ),
        Site(
            place="attention.qkv", kind="linear", path="l.{block}.qkv", blocks=(0, 2), inputs=8,
            outputs=24, bias=True,
        ),
        *TINY.sites[3:],
        Site(
            place="final.norm", kind="norm", path="n", blocks=(1, 2), inputs=8, outputs=8,
            bias=True,
        ),
    ),
)  # fmt: skip
"""TINY with one matrix for query, key and value, and a last norm."""


def fault(sizes, backbone=TINY, block=0):
    """Return the faults of a table with these sizes in one block."""
    slots = slots_of(backbone)
    row = tuple(sizes.get(slot.name, 0) for slot in slots)
    assert sum(map(bool, row)) == len(sizes), "no such slot"
    nothing = (0,) * len(slots)
    return list(faults(Configuration((row, nothing) if block == 0 else (nothing, row)), slots))


def clashing(one, other, backbone=TINY):
    slots = slots_of(backbone)
    names = [slot.name for slot in slots]
    pair = tuple(sorted((names.index(one), names.index(other))))
    return pair in clashes(slots)


def test_a_good_table_has_no_faults():
    assert fault({"lora@attention.query": 8, "gate@attention.query": 1, "bitfit@block": 1}) == []


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"lora@ffn.input": 9}, "lora@ffn.input in block 1 is 9, and may be 0 to 8"),
        ({"lora@ffn.input": -1}, "lora@ffn.input in block 1 is -1, and may be 0 to 8"),
        (
            {"bitfit@ffn.norm": 1, "layer_norm@ffn.norm": 1},
            (
                "bitfit@ffn.norm and layer_norm@ffn.norm cannot both be in block 1: "
                "they change the same weights"
            ),
        ),
        (
            {"gate@ffn.norm": 1, "serial_adapter@ffn.output": 2},
            (
                "gate@ffn.norm in block 1 has nothing to act on: put serial_adapter@ffn.norm there "
                "too, or leave it out"
            ),
        ),
        (
            {"gate@attention": 1},
            (
                "gate@attention in block 1 has nothing to act on: put prefix@attention or "
                "prefix_mlp@attention there too, or leave it out"
            ),
        ),
    ],
    ids=["too large", "negative", "clash", "other site", "nothing"],
)
def test_what_is_wrong_is_said_with_what_is_allowed(sizes, message):
    assert fault(sizes, block=1) == [message]


def test_a_slot_that_a_block_lacks_is_a_fault():
    assert fault({"bitfit@final.norm": 1}, FUSED) == [
        "block 0 has no final.norm, where bitfit@final.norm is 1"
    ]
    assert fault({"bitfit@final.norm": 1}, FUSED, block=1) == []


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("bitfit@block", "bitfit@attention.query", True),
        ("bitfit@block", "ln_fit@ffn.norm", False),
        ("bitfit@block", "lora@attention.query", False),
        ("full@block", "lora@attention.query", True),
        ("full@attention", "lora@attention.query", True),
        ("full@attention", "lora@ffn.input", False),
        ("full@attention", "bitfit@attention.norm", False),
        ("full@attention", "full@ffn", False),
        ("full@block", "full@ffn", True),
        ("full@ffn", "fish_mask@ffn.output", True),
        ("ln_fit@ffn.norm", "bitfit@ffn.norm", False),
        ("ln_fit@ffn.norm", "layer_norm@ffn.norm", True),
        ("fish_mask@ffn.input", "magnitude_mask@ffn.input", False),
        ("fish_mask@ffn.input", "lora@ffn.input", False),
        ("full@attention", "prefix@attention", False),
    ],
)
def test_what_one_takes_no_other_may_take_or_add_to(one, other, expected):
    assert clashing(one, other) is expected


def test_a_fused_matrix_and_its_slices_are_the_same_weights():
    assert clashing("bitfit@attention.qkv", "bitfit@attention.key", FUSED)
    assert clashing("full@attention", "lora@attention.qkv", FUSED)
    assert not clashing("bitfit@attention.query", "bitfit@attention.key", FUSED)
    assert not clashing("lora@attention.qkv", "lora@attention.key", FUSED)


def test_the_norm_that_closes_a_stack_is_no_part_of_its_last_block():
    assert not clashing("bitfit@block", "bitfit@final.norm", FUSED)
    assert not clashing("full@block", "layer_norm@final.norm", FUSED)


def test_stacks_do_not_clash():
    names = ("encoder", "decoder")
    twin = replace(
        TINY,
        sites=tuple(replace(site, stack=name) for name in names for site in TINY.sites),
        stacks=tuple(replace(TINY.stacks[0], name=name) for name in names),
    )

    assert not clashing("bitfit@encoder.ffn.norm", "layer_norm@decoder.ffn.norm", twin)
    assert clashing("bitfit@decoder.ffn.norm", "layer_norm@decoder.ffn.norm", twin)


def test_only_gates_are_nothing_alone_and_each_has_partners_at_its_own_site():
    found = {
        SLOTS[column].name: {SLOTS[partner].name for partner in allowed}
        for column, allowed in partners(SLOTS)
    }

    assert {name.partition("@")[0] for name in found} == {"gate"}
    assert found["gate@attention.query"] == {"lora@attention.query"}
    assert found["gate@ffn.norm"] == {"serial_adapter@ffn.norm"}
    assert all(found.values())


def test_two_prefixes_in_one_attention_are_one_too_many():
    """Which of them a gate would weigh could not be told."""
    assert fault({"prefix@attention": 2, "prefix_mlp@attention": 2}) == [
        "prefix@attention and prefix_mlp@attention cannot both be in block 0: one prefix is enough"
    ]
