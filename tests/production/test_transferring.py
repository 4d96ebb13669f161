"""A plan for another size of the same family."""

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


def test_a_budget_of_its_own_is_kept(tmp_path):
    plan = plan_on(tmp_path / "model", LORA)

    moved = autopeft.transfer(plan, str(tmp_path / "model"), budget="500")

    assert moved.parameters <= 500
    assert (moved.provenance.budget, moved.provenance.ceiling) == ("500", 500)
