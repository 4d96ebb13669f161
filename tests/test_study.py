"""A study is a value, and its id the digest of what decides its result."""

import re
from dataclasses import replace

import pytest

from autopeft.budget import Budget
from autopeft.study import DataFiles, Where
from autopeft.trial import Recipe
from tests.builders import MINI_LM, ONE_CONFIGURATION, SMALL_SPACE, TASK, TINY, a_study

STUDY = a_study()


def test_an_id_is_twelve_hexadecimal_digits():
    assert re.fullmatch("[0-9a-f]{12}", STUDY.id)


@pytest.mark.parametrize(
    "changes",
    [
        {"where": Where(model="/mnt/x", data=DataFiles(train="a.csv", test="b.csv"))},
        {"backbone": replace(TINY, name="/models/tiny")},
        {"space": replace(SMALL_SPACE, summary="said otherwise")},
        {"budget": Budget.parse("0.01")},
        {"budget": Budget.parse("1.00%")},
        {"budget": Budget.parse("400")},
        {"finals": 5},
    ],
    ids=[
        "where",
        "the backbone's name",
        "the space's summary",
        "0.01",
        "1.00%",
        "a count",
        "finals",
    ],
)
def test_what_only_says_where_or_how_it_was_written_does_not_change_the_id(changes):
    study = a_study(**changes)

    assert study != STUDY
    assert study.id == STUDY.id


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"strategy": "tpe"},
        {"budget": Budget.parse("401")},
        {"space": ONE_CONFIGURATION},
        {"backbone": replace(TINY, digest="c" * 64)},
        {"backbone": replace(MINI_LM, digest=TINY.digest), "budget": Budget.parse("400")},
        {"recipe": replace(STUDY.recipe, epochs=4)},
        {"recipe": replace(STUDY.recipe, precision="bf16")},
        {"recipe": Recipe(scales={"lora": 1.0, "serial_adapter": 1.0})},
        {"task": replace(TASK, digest="f" * 64)},
        {"task": replace(TASK, metric="macro_f1")},
        {"task": replace(TASK, labels=("yes", "no"))},
        {"task": replace(TASK, split_seed=1)},
        {"task": replace(TASK, max_length=17)},
        {"task": replace(TASK, head="cls")},
        {"task": replace(TASK, loss="all")},
    ],
    ids=str,
)
def test_what_decides_the_result_changes_the_id(changes):
    assert a_study(**changes).id != STUDY.id


def test_the_id_stays_the_same_from_version_to_version():
    """Studies in stores that users have are found by it: change it only with a migration."""
    assert STUDY.id == "99f7419a66f1"


def test_the_ceiling_is_that_of_the_budget_on_the_backbone():
    assert (STUDY.ceiling, a_study(backbone=MINI_LM).ceiling) == (400, 227_132)


def test_a_head_has_an_output_for_each_class_and_one_for_a_value():
    assert TASK.outputs == 2
    assert replace(TASK, kind="regression", metric="spearman", labels=()).outputs == 1


def test_classes_are_stored_as_whole_numbers_and_values_as_fractions():
    assert TASK.predicted == "<i4"
    assert replace(TASK, kind="causal_lm", labels=()).predicted == "<f4"
