"""The plan's model in anyone's hands gives what `autopeft train` has measured."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import autopeft
from autopeft.files import write_json
from autopeft.production.exporting import export_merged, export_peft
from autopeft.production.opening import open_trained
from autopeft.production.verifying import verify
from autopeft.tasks.reading import read_task
from autopeft.training.production import Outcome, train
from autopeft.training.trainer import Trainer
from tests.kinds import tagged, write_pictures
from tests.kinds import write_json as write_lines
from tests.models import degrees, opinions, padded_inputs, save_tiny, write_rows
from tests.production.plans import LORA, batch_for, moved, plan_for, plan_on

KINDS = [("classification", "mean"), ("classification", "cls"), ("regression", "mean"),
         ("tokens", "tokens"), ("image", "mean"), ("image", "pooler")]  # fmt: skip


def trained_by_command(folder, kind, head):
    """Train a plan as the command does, and return it with its outcome."""
    if kind == "image":
        data = write_pictures(folder / "data", 40)
    elif kind == "tokens":
        data = write_lines(folder / "data.jsonl", tagged(40))
    else:
        rows = degrees(60) if kind == "regression" else opinions(60)
        data = write_rows(folder / "data.csv", rows)
    family = "vit" if kind == "image" else "bert"
    plan = plan_on(folder / "model", LORA, family, kind=kind, epochs=2, head_learning_rate=1e-2)
    task = read_task(data, text=None, label=None, head=head, kind=kind)
    plan = replace(plan, task=task, where=replace(plan.where, data=data))
    plan = replace(plan, head_parameters=(plan.backbone.width + 1) * task.outputs)
    *_, outcome = train(plan, plan.where, folder, seed=plan.seed, threads=1)
    assert isinstance(outcome, Outcome)
    write_json(folder / "plan.json", plan.to_json())
    return plan, outcome


def scores(plan, model):
    """Predict the validation part batch by batch; return predictions and truth, or right words."""
    trainer = Trainer.open(plan.task, plan.backbone, plan.where, test=False, threads=1)
    part, found, truth = trainer.parts["validation"], [], []
    for row in range(len(part)):
        batch = part.batch(np.array([row]))
        with torch.no_grad():
            logits = model(**batch.inputs).logits
        if plan.task.kind == "tokens":
            scored = batch.labels != -100
            found += logits.argmax(-1)[scored].tolist()
            truth += batch.labels[scored].tolist()
        else:
            number = plan.task.kind == "regression"
            found += (logits[:, 0] if number else logits.argmax(-1)).tolist()
            truth += batch.labels.tolist()
    return np.array(found), np.array(truth)


@pytest.mark.parametrize(("kind", "head"), KINDS)
def test_weights_of_the_command_give_its_score_again(kind, head, tmp_path):
    plan, outcome = trained_by_command(tmp_path, kind, head)

    model = autopeft.load(autopeft.model_for(plan), tmp_path).eval()

    found, truth = scores(plan, model)
    if kind == "regression":
        assert spearmanr(found, truth).statistic == pytest.approx(outcome.validation)
        assert abs(found.mean() - 100) < 3
    else:
        assert np.mean(found == truth) == pytest.approx(outcome.validation)


def test_weights_of_the_command_are_verified(tmp_path):
    plan, _ = trained_by_command(tmp_path, "classification", "mean")

    findings = {finding.what: finding for finding in verify(plan, tmp_path)}

    assert all(finding.right for finding in findings.values()), findings
    assert findings["probe"].found == "24 numbers as recorded"


def test_a_fresh_head_starts_as_that_of_the_trial(tmp_path):
    plan = plan_on(tmp_path / "model", LORA)
    one, two = autopeft.model_for(plan), autopeft.model_for(replace(plan, seed=8))

    assert torch.equal(one.weight, autopeft.model_for(plan).weight)
    assert not torch.equal(one.weight, two.weight)


def test_labels_of_less_than_zero_are_not_learned(tmp_path):
    plan = plan_on(tmp_path / "model", LORA, kind="tokens")
    model, inputs = autopeft.model_for(plan), batch_for("bert")
    labels = inputs["attention_mask"].clone()
    other = labels.clone()
    labels[:, 3:], other[:, 3:] = -100, -100

    assert model(**inputs | {"labels": labels}).loss == model(**inputs | {"labels": other}).loss


@pytest.mark.parametrize(("kind", "side"), [("image", "vision"), ("classification", "text")])
def test_of_a_model_of_two_sides_the_one_that_sees_the_data_is_called(kind, side, tmp_path):
    folder = save_tiny(tmp_path / "clip", "clip")
    slots = {f"lora@{side}.attention.query": 2, f"lora@{side}.attention.value": 2}
    plan = plan_for(str(folder), slots, kind)
    batch = padded_inputs("clip") | {"labels": torch.tensor([0, 1, 1])}
    for name in ("pixel_values",) if side == "text" else ("input_ids", "attention_mask"):
        del batch[name]

    model = autopeft.apply(plan, autopeft.model_for(plan))
    model(**batch).loss.backward()
    moved(model)
    autopeft.save(model, tmp_path / "trained")
    opened = open_trained(plan, tmp_path / "trained")

    assert model(**batch).logits.shape == (3, 2)
    assert any(p.grad is not None and p.grad.any() for p in model.parameters())
    for export, form in ((export_peft, "peft"), (export_merged, "merged")):
        assert export(opened, tmp_path / form).drift.largest < 1e-4
        assert all(finding.right for finding in verify(plan, tmp_path / form))
    config = json.loads((tmp_path / "peft" / "adapter_config.json").read_text("utf-8"))
    assert all(name.startswith(f"{side}_model.") for name in config["target_modules"])
