"""Trained weights are held against their plan, in every form, and differences are found."""

import json
import re
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

import autopeft
from autopeft.errors import PlanError
from autopeft.plan import read_plan
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
        "plan digest", "backbone", "weights", "values", "shapes", "trained parameters",
        "trainable set", "head parameters", "probe",
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
    assert {w for w, f in findings.items() if f.state == "not checked"} == {
        "plan digest", "files", "probe"
    }  # fmt: skip
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

    assert set(wrong(plan, mine)) == {"values", "probe"}


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

    assert "which has no place in a BertModel" in wrong(plan, tmp_path)["adapter"]

    file = tmp_path / "adapter_model.safetensors"
    rest = {name: value for name, value in load_file(file).items() if "attention.self" in name}
    save_file(rest, file)

    assert "adapted in one of them only" in wrong(plan, tmp_path)["modules"]


def test_a_spoiled_merged_directory_is_found(plan, weights, tmp_path):
    export_merged(open_trained(plan, weights), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    name = next(name for name in tensors if name.endswith("query.weight"))
    tensors[name] = tensors[name] + 1
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})

    assert set(wrong(plan, tmp_path)) == {"files", "probe"}


def test_weights_without_a_record_say_so(plan, mine):
    tensors = load_file(mine / "adapter.safetensors")
    save_file(tensors, mine / "adapter.safetensors", {"plan": plan.digest})

    findings = {finding.what: finding for finding in verify(plan, mine)}

    for what in ("probe", "values"):
        assert findings[what].found == "nothing recorded to compare with"
        assert findings[what].state == "not checked"


def test_an_empty_directory_holds_nothing_to_verify(plan, tmp_path):
    with pytest.raises(
        PlanError, match=r"there are no trained weights in .*: give the directory th"
    ):
        list(verify(plan, tmp_path))


def test_a_probe_is_the_same_on_every_run(plan, weights):
    torch.manual_seed(3)
    torch.randn(7)

    assert not wrong(plan, weights)


@pytest.fixture(scope="module")
def classified(plan, tmp_path_factory):
    """Weights that were trained in a classifier of transformers."""
    model = AutoModelForSequenceClassification.from_pretrained(plan.where.model, num_labels=2)
    folder = tmp_path_factory.mktemp("classified")
    return autopeft.save(moved(autopeft.apply(plan, model)), folder)


@pytest.fixture(params=["own", "peft", "merged"])
def form(request, plan, weights, mine):
    """One of the forms that weights are written in, with the file that its head lies in."""
    if request.param == "own":
        return mine, mine / "adapter.safetensors", "head/weight"
    (write,) = [w for w in (export_peft, export_merged) if w.__name__.endswith(request.param)]
    write(open_trained(plan, weights), mine / request.param)
    return mine / request.param, mine / request.param / "head.safetensors", "weight"


def spoil(file, name, edit):
    """Change one tensor of a file, and leave what the file says of itself."""
    with safe_open(file, "pt") as opened:
        says = opened.metadata()
    tensors = load_file(file)
    tensors[name] = edit(tensors.get(name))
    save_file(tensors, file, says)


def test_a_classifier_of_transformers_passes_in_every_form(plan, classified, tmp_path):
    opened = open_trained(plan, classified)
    export_peft(opened, tmp_path / "peft")
    export_merged(opened, tmp_path / "merged")

    for folder in (classified, tmp_path / "peft", tmp_path / "merged"):
        findings = list(verify(plan, folder))
        assert {finding.state for finding in findings} == {"ok"}, findings


@pytest.mark.parametrize("form", ["peft", "merged"])
def test_a_changed_classifier_of_transformers_is_found(plan, classified, tmp_path, form):
    (write,) = [w for w in (export_peft, export_merged) if w.__name__.endswith(form)]
    write(open_trained(plan, classified), tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    name = next(name for name in load_file(file) if name.endswith("classifier.weight"))
    spoil(file, name, torch.neg)

    assert wrong(plan, tmp_path) == {"files": f"{file.name} is not as it was exported"}


def test_a_changed_head_is_found_in_every_form(plan, form):
    folder, file, name = form
    assert not wrong(plan, folder)
    spoil(file, name, torch.neg)

    (found,) = wrong(plan, folder).items()

    assert found in {
        ("values", "some, or those of the head, are not what was written when training ended"),
        ("files", "head.safetensors is not as it was exported"),
    }


def test_a_missing_head_is_found(plan, weights, tmp_path):
    export_peft(open_trained(plan, weights), tmp_path)
    (tmp_path / "head.safetensors").unlink()

    assert wrong(plan, tmp_path) == {"files": "head.safetensors is missing"}


def test_a_head_that_is_no_number_is_found_in_every_form(plan, form):
    """Also where the plan beside it records nothing of the files."""
    folder, file, name = form
    without_files(folder)
    spoil(file, name, lambda value: value.fill_(float("nan")))

    assert any("weight" in found and "no finite numbers" in found
               for found in wrong(plan, folder).values())  # fmt: skip


def without_files(folder):
    """Make a directory one of before digests of files were recorded."""
    copy = read_plan(folder / "plan.json")
    if copy.exported is not None:
        copy = replace(copy, exported=replace(copy.exported, files=None))
    (folder / "plan.json").write_text(json.dumps(copy.to_json()), encoding="utf-8")


def test_an_export_of_before_files_were_recorded_says_so(plan, weights, tmp_path):
    export_peft(open_trained(plan, weights), tmp_path)
    without_files(tmp_path)

    findings = {finding.what: finding for finding in verify(plan, tmp_path)}

    assert all(finding.right for finding in findings.values())
    assert findings["files"].state == "not checked"
    assert findings["probe"].state == "ok"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda tensors: tensors.update(foo=torch.ones(2)), "has 'foo', which has no place in"),
        (lambda tensors: tensors.pop(min(tensors)), r"lacks 'base_model.*\(1 missing\)"),
        (lambda tensors: tensors[min(tensors)].fill_(float("nan")), "no finite numbers"),
    ],
)  # fmt: skip
def test_tensors_that_peft_would_pass_over_are_refused(plan, weights, tmp_path, edit, message):
    export_peft(open_trained(plan, weights), tmp_path)
    without_files(tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    edit(tensors)
    save_file(tensors, tmp_path / "adapter_model.safetensors")

    assert re.search(message, wrong(plan, tmp_path)["adapter"])


def test_an_adapter_without_safetensors_is_refused(plan, weights, tmp_path):
    export_peft(open_trained(plan, weights), tmp_path)
    (tmp_path / "adapter_model.safetensors").unlink()

    assert "there is no adapter_model.safetensors in" in wrong(plan, tmp_path)["adapter"]


def test_an_adapter_for_an_unknown_class_is_refused(plan, weights, tmp_path):
    export_peft(open_trained(plan, weights), tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text("utf-8"))
    config["auto_mapping"]["base_model_class"] = "Mine"
    (tmp_path / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")

    assert wrong(plan, tmp_path)["adapter"] == (
        "the adapter is for a Mine, which transformers does not know"
    )


def test_a_conversion_is_held_against_the_ranks_that_were_written(plan, weights, tmp_path):
    export_peft(open_trained(plan, weights), tmp_path, convert=True, rank=1)

    findings = {finding.what: finding for finding in verify(plan, tmp_path)}

    assert {finding.state for finding in findings.values()} == {"ok"}, findings
    assert (findings["largest rank"].found, findings["scales"].found) == ("1", "1")

    config = json.loads((tmp_path / "adapter_config.json").read_text("utf-8"))
    config["lora_alpha"] *= 2
    (tmp_path / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")

    assert set(wrong(plan, tmp_path)) == {"scales", "probe"}


@pytest.mark.parametrize("probe", ["x", "3", '["x"]', '{"a": 1}', "[null]"])
def test_a_damaged_probe_is_found(plan, mine, probe):
    change(mine, lambda _: None, probe=probe)

    assert "what was recorded is damaged" in wrong(plan, mine)["probe"]


def test_a_probe_that_is_no_number_is_found(plan, mine):
    with safe_open(mine / "adapter.safetensors", "pt") as file:
        known = json.loads(file.metadata()["probe"])
    change(mine, lambda _: None, probe=json.dumps([float("nan"), *known[1:]]))

    assert "differs by inf" in wrong(plan, mine)["probe"]

    change(mine, lambda _: None, probe=json.dumps(known[1:]))

    assert wrong(plan, mine) == {"probe": "23 numbers were recorded, and the model gives 24"}


def test_whole_numbers_in_place_of_values_are_refused(plan, mine):
    name = "0/lora@attention.query/up"
    change(mine, lambda tensors: tensors.update({name: tensors[name].round().int()}))

    assert (
        "has up of lora@attention.query in block 0 in int32 instead of float32"
        in wrong(plan, mine)["shapes"]
    )
