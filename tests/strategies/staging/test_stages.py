"""The stages in which a space is refined."""

import numpy as np
import pytest

from autopeft.search_spaces.sampling import Sampler
from autopeft.search_spaces.written.reading import parse_space, read_space
from autopeft.strategies.staging.stages import everything, restricted, stages_of
from tests.builders import MINI_LM, TINY, space_on

CEILING = 227_132


def stage(space, name):
    return next(stage for stage in stages_of(space) if stage.name == name)


def narrowed(space, *answers):
    """Return what is left after stages were answered, each as ``(stage, option)``."""
    allowed = everything(space)
    for name, wanted in answers:
        option = next(o for o in stage(space, name).options if o.name == wanted)
        allowed = option.narrow(space, allowed)
    return allowed


def test_a_part_of_a_space_is_decoded_as_the_whole_is():
    """Also where a choice stands for a pattern, or for what the budget allows."""
    space = read_space("s4").on(MINI_LM, CEILING)
    allowed = narrowed(
        space, ("layer grouping", "1-2-2-1"), ("allocation", "decreasing"),
        ("tuned groups", "groups 1-2"), ("group 1", "lora"),
    )  # fmt: skip
    part = restricted(space, allowed)

    for seed in range(5):
        genome = Sampler(part, CEILING).draw(np.random.default_rng(seed))
        whole = tuple(left[choice] for left, choice in zip(allowed, genome, strict=True))

        assert part.decode(genome) == space.decode(whole)
        assert {slot.method for slot in space.slots if part.decode(genome).sizes[0][
            space.slots.index(slot)]} == {"lora"}  # fmt: skip


def test_a_contradiction_leaves_nothing():
    space = read_space("s4").on(MINI_LM, CEILING)
    allowed = narrowed(space, ("tuned groups", "group 1"))

    options = stage(space, "group 2").options

    assert all(option.narrow(space, allowed) is None for option in options)


def test_what_has_to_be_there_cannot_be_decided_away():
    space = space_on(MINI_LM, "unified")
    without = narrowed(space, ("lora", "without"))

    with_lora = stage(space, "lora@attention.query").options[0]

    assert with_lora.name == "with"
    assert with_lora.narrow(space, without) is None


def test_rival_groups_are_one_question():
    space = space_on(MINI_LM, "llm-adapters")

    options = stage(space, "one of lora, serial, parallel, prefix").options

    assert len(options) == 4
    assert "prefix@attention" in [option.name for option in options]


def test_depths_are_a_question_for_each_group():
    space = space_on(MINI_LM, "noah")

    options = stage(space, "depth of lora").options

    assert [option.name for option in options] == ["2", "3", "5", "6"]


def test_switched_blocks_are_asked_for_in_thirds():
    space = space_on(MINI_LM, "autopeft")

    options = stage(space, "tuned blocks").options

    assert [option.name for option in options] == [
        "thirds 1-3", "thirds 1-2", "thirds 2-3", "third 1", "third 2", "third 3",
    ]  # fmt: skip
    off = {space.genes[g].name for g, left in options[3].only.items() if left == {0}}
    assert off == {"block 2", "block 3", "block 4", "block 5"}


@pytest.mark.parametrize(
    ("method", "sizes"),
    [("serial_adapter", ["1", "12", "48", "384"]), ("prefix", ["1", "12", "48", "384"])],
)
def test_of_many_sizes_four_are_asked_for(method, sizes):
    space = space_on(MINI_LM, "autopeft")

    assert [option.name for option in stage(space, f"size of {method}").options] == sizes


def test_a_method_that_cannot_be_absent_is_no_question():
    space = parse_space(
        """
        name: always
        groups:
          - {slots: [lora@attention.query], sizes: [4]}
          - {slots: [serial_adapter@ffn.norm], sizes: [0, 4]}
        """,
        "always.yaml",
    ).on(TINY)

    assert [option.name for option in stage(space, "lora").options] == ["with"]


def test_sizes_are_asked_for_in_layer_groups_too():
    space = parse_space(
        """
        name: grouped
        layer_groups: {count: 2, patterns: [uniform]}
        groups:
          - {slots: [lora@attention.query], sizes: [0, 4, 16], tie: layer_groups}
          - {slots: [bitfit@block], sizes: [0, 1], tie: all}
        """,
        "grouped.yaml",
    ).on(MINI_LM)

    assert [option.name for option in stage(space, "size of lora").options] == ["4", "16"]
    assert [one.name for one in stages_of(space) if len(one.options) > 1] == [
        "tuned groups", "bitfit", "size of lora",
    ]  # fmt: skip
