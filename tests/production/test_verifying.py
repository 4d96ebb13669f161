"""Trained weights are held against their plan, in every form, and differences are found."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import autopeft
from autopeft.errors import PlanError
from autopeft.production.exporting import export_merged, export_peft
from autopeft.production.opening import open_trained
from autopeft.production.verifying import verify
from tests.models import save_tiny
from tests.production.plans import LORA, moved, plan_on, trained


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return plan_on(tmp_path_factory.mktemp("verifying") / "model", LORA | {"dora@ffn.input": 2})


@pytest.fixture(scope="module")
def weights(plan, tmp_path_factory):
    return autopeft.save(moved(trained(plan, "bert")), tmp_path_factory.mktemp("weights"))


@pytest.fixture
def mine(weights, tmp_path):
    """A copy of the weights to be spoiled."""
    for name in ("adapter.safetensors", "plan.json"):
        (tmp_path / name).write_bytes((weights / name).read_bytes())
    return tmp_path


def wrong(plan, folder, model=None):
    return {
        finding.what: finding.found for finding in verify(plan, folder, model) if not finding.right
    }


def change(folder, edit, **says):
    with safe_open(folder / "adapter.safetensors", "pt") as file:
        known = file.metadata()
    tensors = load_file(folder / "adapter.safetensors")
    edit(tensors)
    save_file(tensors, folder / "adapter.safetensors", known | says)


def test_weights_that_are_the_plans_pass_in_every_respect(plan, weights):
    findings = list(verify(plan, weights))

    assert all(finding.right for finding in findings), findings
    assert {finding.what for finding in findings} == {
        "plan digest", "backbone", "weights", "shapes", "trained parameters", "trainable set",
        "head parameters", "scales", "probe",
    }  # fmt: skip


def test_an_adapter_of_peft_passes(plan, weights, tmp_path):
    export_peft(open_trained(plan, weights), tmp_path)

    findings = list(verify(plan, tmp_path))

    assert all(finding.right for finding in findings), findings
    assert {"modules", "ranks", "scales", "probe"} <= {finding.what for finding in findings}


def test_an_adapter_that_another_program_wrote_is_compared_as_far_as_it_goes(
    plan, weights, tmp_path
):
    """A script with peft alone writes no plan beside its adapter."""
    export_peft(open_trained(plan, weights), tmp_path)
    (tmp_path / "plan.json").unlink()

    findings = {finding.what: finding for finding in verify(plan, tmp_path)}

    assert all(finding.right for finding in findings.values()), findings
    assert findings["probe"].found == "nothing recorded to compare with: no plan lies beside it"
    assert findings["plan digest"].found.startswith("no plan lies beside it; autopeft export")


def test_a_merged_directory_passes(plan, weights, tmp_path):
    export_merged(open_trained(plan, weights), tmp_path)

    findings = list(verify(plan, tmp_path))

    assert all(finding.right for finding in findings), findings


def test_another_plan_is_found(plan, weights):
    other = replace(plan, seed=99)

    assert set(wrong(other, weights)) == {"plan digest", "weights"}


def test_another_backbone_is_found(plan, weights, tmp_path):
    other = save_tiny(tmp_path / "other", seed=5)

    assert "does not have the weights" in wrong(plan, weights, str(other))["backbone"]


def test_a_missing_tensor_is_found(plan, mine):
    change(mine, lambda tensors: tensors.pop("0/lora@attention.query/up"))

    assert "lacks up of lora@attention.query in block 0" in wrong(plan, mine)["shapes"]


def test_a_changed_value_is_found_by_the_probe(plan, mine):
    change(mine, lambda tensors: tensors["0/lora@attention.query/up"].add_(0.5))

    assert set(wrong(plan, mine)) == {"probe"}


def test_what_is_no_number_is_found(plan, mine):
    change(mine, lambda tensors: tensors["0/lora@attention.query/up"].fill_(float("nan")))

    assert "up of lora@attention.query in block 0 holds" in wrong(plan, mine)["weights"]


def test_a_changed_rank_or_scale_of_an_adapter_is_found(plan, weights, tmp_path):
    export_peft(open_trained(plan, weights), tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text("utf-8"))
    config["lora_alpha"] *= 2
    (tmp_path / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")

    assert {"scales", "probe"} <= set(wrong(plan, tmp_path))


def test_a_module_that_an_adapter_lacks_is_found(plan, weights, tmp_path):
    export_peft(open_trained(plan, weights), tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text("utf-8"))
    config["target_modules"] = ["query", "value"]
    (tmp_path / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")

    assert "adapted in one of them only" in wrong(plan, tmp_path)["modules"]


def test_a_spoiled_merged_directory_is_found(plan, weights, tmp_path):
    export_merged(open_trained(plan, weights), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    name = next(name for name in tensors if name.endswith("query.weight"))
    tensors[name] = tensors[name] + 1
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})

    assert set(wrong(plan, tmp_path)) == {"probe"}


def test_weights_without_a_record_say_so(plan, mine):
    tensors = load_file(mine / "adapter.safetensors")
    save_file(tensors, mine / "adapter.safetensors", {"plan": plan.digest})

    findings = {finding.what: finding for finding in verify(plan, mine)}

    assert findings["probe"].found == "nothing recorded to compare with"


def test_an_empty_directory_holds_nothing_to_verify(plan, tmp_path):
    with pytest.raises(
        PlanError, match=r"there are no trained weights in .*: give the directory th"
    ):
        list(verify(plan, tmp_path))


def test_a_probe_is_the_same_on_every_run(plan, weights):
    torch.manual_seed(3)
    torch.randn(7)

    assert not wrong(plan, weights)
