"""Configurations of one study in terms of another."""

import pytest

from autopeft.budget import Budget
from autopeft.search_spaces.baselines import BASELINES, fill
from autopeft.search_spaces.configuration import Configuration
from autopeft.search_spaces.written.reading import parse_space, read_space
from autopeft.strategies.translation import shared_slots, translated
from tests.builders import BERT_BASE, MINI_LM, a_study, bert_shaped, space_on

LORA = space_on(MINI_LM, "lora")

NORMS = parse_space(
    "{name: norms, groups: [{slots: [ln_fit@attention.norm], sizes: [0, 1]}]}", "norms.yaml"
).on(MINI_LM)


def mini_study(space=LORA, budget="1%"):
    return a_study(backbone=MINI_LM, space=space, budget=Budget.parse(budget))


def base_study(name="lora", budget="1%"):
    return a_study(backbone=BERT_BASE, space=space_on(BERT_BASE, name), budget=Budget.parse(budget))


def of_rows(study, *sizes: int, slot: str = "lora@attention.query") -> Configuration:
    """Return a configuration with one slot, one size a row."""
    slots = study.space.slots
    names = [one.name for one in slots]
    return Configuration(tuple(
        tuple(size if name == slot else 0 for name in names) for size in sizes
    ))  # fmt: skip


def sizes_of(configuration: Configuration, study, slot: str = "lora@attention.query"):
    column = [one.name for one in study.space.slots].index(slot)
    return [row[column] for row in configuration.sizes]


def test_in_the_same_space_a_configuration_stays_what_it_is():
    study = mini_study()
    configuration = of_rows(study, 4, 0, 8, 8, 0, 16)

    assert translated(configuration, study, mini_study()) == configuration


def test_rows_are_the_same_by_relative_depth_and_the_share_of_the_budget_stays():
    """From 6 blocks of width 384 to 12 of width 768; LoRA costs 2 · width · rank a cell."""
    origin, goal = mini_study(), base_study()
    configuration = of_rows(origin, 16, 16, 16, 0, 0, 32)
    assert configuration.parameters(LORA.slots) == 61_440  # 27% of 227,132

    found = translated(configuration, origin, goal)

    sizes = sizes_of(found, goal)
    assert [bool(size) for size in sizes] == [True] * 6 + [False] * 4 + [True] * 2
    assert sizes[11] == 2 * sizes[0]
    share = found.parameters(goal.space.slots) / goal.ceiling
    assert 0.15 < share <= 61_440 / 227_132 + 0.01  # sizes of the space are powers of two


def test_a_smaller_budget_makes_sizes_smaller():
    origin, goal = mini_study(), mini_study(budget="0.1%")
    configuration = of_rows(origin, *[32] * 6)

    found = translated(configuration, origin, goal)

    assert 0 < found.parameters(LORA.slots) <= goal.ceiling
    assert len(set(sizes_of(found, goal))) == 1


def test_what_the_other_space_does_not_have_is_left_out():
    origin = mini_study(space_on(MINI_LM, "unified"))
    slots = origin.space.slots
    adapters = fill(BASELINES[1], MINI_LM.blocks, slots, 100_000)
    both = Configuration(tuple(
        tuple(max(a, b) for a, b in zip(one, other, strict=True))
        for one, other in zip(
            adapters.sizes, of_rows(origin, 2, 2, 2, 2, 2, 2).sizes, strict=True
        )
    ))  # fmt: skip

    found = translated(both, origin, mini_study())

    assert found.methods(LORA.slots) == ("lora",)
    assert translated(adapters, origin, mini_study()) is None


@pytest.mark.parametrize("name", ["autopeft", "noah", "llm-adapters"])
def test_tied_spaces_take_what_comes_nearest(name):
    origin = mini_study(space_on(MINI_LM, "unified"))
    goal = mini_study(space_on(MINI_LM, name), budget="0.5%")
    adapters = fill(BASELINES[1], MINI_LM.blocks, origin.space.slots, 60_000)
    if name != "autopeft":  # the others have another place for adapters
        slots = origin.space.slots
        adapters = fill(BASELINES[0], MINI_LM.blocks, slots, 60_000)

    found = translated(adapters, origin, goal)

    assert found is not None
    assert 0 < found.parameters(goal.space.slots) <= goal.ceiling


def test_where_sizes_follow_from_the_budget_the_structure_is_taken_over():
    origin = mini_study(space_on(MINI_LM, "unified"))
    space = read_space("s4").on(MINI_LM, 227_132)
    lora = fill(BASELINES[0], MINI_LM.blocks, origin.space.slots, 60_000)

    found = translated(lora, origin, mini_study(space))

    assert found.methods(space.slots) == ("lora",)


def test_nothing_fits_where_the_budget_is_too_small_for_what_is_left():
    space = parse_space(
        """
        name: two sizes
        groups:
          - {slots: [lora@attention.query], sizes: [64], tie: blocks}
          - {slots: [ln_fit@attention.norm], sizes: [0, 1]}
        """,
        "two.yaml",
    ).on(MINI_LM)
    origin = mini_study()

    found = translated(of_rows(origin, *[8] * 6), origin, mini_study(space, budget="1000"))

    assert found is None


def test_slots_are_shared_where_spaces_have_places_in_common():
    assert shared_slots(mini_study(), base_study())
    assert shared_slots(mini_study(space_on(MINI_LM, "autopeft")), base_study("unified"))
    assert not shared_slots(mini_study(), mini_study(NORMS))


def test_a_deeper_model_gives_every_row_of_a_shallower_one():
    deep = bert_shaped("deep", blocks=24, width=384, feedforward=1536, parameters=90_000_000)
    origin = a_study(backbone=deep, space=space_on(deep, "lora"), budget=Budget.parse("227132"))
    goal = mini_study()

    found = translated(of_rows(origin, *([0] * 12), *([4] * 12)), origin, goal)

    assert [bool(size) for size in sizes_of(found, goal)] == [False] * 3 + [True] * 3
