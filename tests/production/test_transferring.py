"""A plan for another size of the same family."""

from dataclasses import replace

import pytest

import autopeft
from autopeft.errors import PlanError
from autopeft.plan import Plan
from autopeft.training.model_files import find_model
from autopeft.training.shape import read_backbone
from tests.kinds import save_model
from tests.production.plans import LORA, batch_for, plan_on


def test_a_plan_goes_to_a_deeper_and_wider_model_and_trains_there(tmp_path):
    plan = plan_on(tmp_path / "model", LORA)
    larger = tmp_path / "larger"
    save_model(larger, "classification", "bert", num_hidden_layers=4, hidden_size=64)

    moved = autopeft.transfer(plan, str(larger))

    assert moved.backbone == read_backbone(find_model(str(larger)))
    assert moved.transferred.plan == plan.digest
    assert moved.provenance.budget == plan.provenance.budget == "50%"
    assert moved.parameters <= moved.provenance.ceiling
    assert moved.expected is None
    assert Plan.from_json(moved.to_json()) == moved
    model = autopeft.apply(moved, autopeft.model_for(moved))
    model(**batch_for("bert")).loss.backward()


def test_another_family_is_refused(tmp_path):
    plan = plan_on(tmp_path / "model", LORA)
    plan_on(tmp_path / "other", LORA, family="electra")

    with pytest.raises(PlanError, match=r"is of the family 'electra', and the plan is for '.*bert"):
        autopeft.transfer(plan, str(tmp_path / "other"))


def test_texts_are_cut_to_the_positions_that_the_other_model_has(tmp_path):
    """Prompts take positions too; texts as long as before stay as long as they were."""
    plan = plan_on(tmp_path / "model", LORA)
    prompted = plan_on(tmp_path / "model", {"prompt_tuning@embeddings": 4})
    short = str(
        save_model(tmp_path / "short", "classification", "bert", max_position_embeddings=15)
    )

    assert plan.task.max_length == 16
    assert autopeft.transfer(plan, str(tmp_path / "model")).task.max_length == 16
    assert autopeft.transfer(plan, short).task.max_length == 15
    cut = autopeft.transfer(prompted, short)
    prompts = cut.configuration.sizes[0][[slot.name for slot in cut.slots].index(
        "prompt_tuning@embeddings"
    )]  # fmt: skip
    assert cut.task.max_length == 15 - prompts
    assert Plan.from_json(cut.to_json()) == cut
    with pytest.raises(
        PlanError, match=r"leave \d+ of them for a text, which needs 8: give a smal"
    ):
        autopeft.transfer(replace(prompted, provenance=grown(prompted)), short)


def grown(plan):
    """A budget of which the plan has used all, so that it grows as the budget does."""
    return replace(plan.provenance, ceiling=plan.parameters, budget="2000")


def test_a_shallower_model_keeps_what_was_at_each_depth(tmp_path):
    deep = plan_on(tmp_path / "deep", LORA, changes={"num_hidden_layers": 5})
    plan_on(tmp_path / "flat", LORA)

    moved = autopeft.transfer(deep, str(tmp_path / "flat"), budget="1000")

    assert len(moved.configuration.sizes) == 2
    assert moved.configuration.methods(moved.slots) == ("lora",)
    assert all(any(row) for row in moved.configuration.sizes)
    autopeft.apply(moved, autopeft.model_for(moved))(**batch_for("bert")).loss.backward()


def test_a_budget_of_its_own_is_kept(tmp_path):
    plan = plan_on(tmp_path / "model", LORA)

    moved = autopeft.transfer(plan, str(tmp_path / "model"), budget="500")

    assert moved.parameters <= 500
    assert (moved.provenance.budget, moved.provenance.ceiling) == ("500", 500)
