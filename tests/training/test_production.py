"""Training a plan that was made from a real small trial."""

import json
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
from safetensors import safe_open

from autopeft.answer import Interval
from autopeft.errors import OutputError, PlanError
from autopeft.evaluators.finetune import FinetuneEvaluator
from autopeft.evidence import Expected, Provenance
from autopeft.plan import VERSION, Plan, schema
from autopeft.records import to_json
from autopeft.study import DataFiles, Where
from autopeft.training import checkpoint
from autopeft.training.production import Outcome, task_for, train
from autopeft.training.trainer import Trainer
from tests.kinds import continued, save_model, tagged, write_json, write_pictures
from tests.models import (
    MANY,
    MINILM,
    degrees,
    opinions,
    recipe_of,
    save_tiny,
    sentiment_rows,
    study_on,
    table,
    trial_of,
    write_rows,
)


def plan_of(study, sizes, *, seed=5, recipe=None):
    """Run one trial of a study and make a plan of it."""
    slots = study.space.slots
    trial = trial_of(table(slots, study.backbone.blocks, sizes), recipe or study.recipe, seed=seed)
    *_, trial = FinetuneEvaluator(study, threads=1).evaluate([trial])
    measured = trial.measurement
    return Plan(
        version=VERSION,
        backbone=study.backbone,
        task=study.task,
        where=study.where,
        slots=slots,
        configuration=trial.proposal.configuration,
        recipe=trial.proposal.recipe,
        seed=seed,
        parameters=measured.parameters,
        head_parameters=measured.head_parameters,
        expected=Expected(
            metric=study.task.metric,
            trial_score=measured.score,
            interval=Interval(mean=measured.score, low=0.0, high=1.0),
            seeds=0,
        ),
        provenance=Provenance(
            study=study.id,
            trial=trial.number,
            strategy=study.strategy,
            space=study.space.name,
            budget=study.budget.text,
            ceiling=study.ceiling,
            trials=1,
            verdict="not compared",
            versions={},
            created="2026-11-22T00:00:00+00:00",
        ),
    )


def outcome_of(plan, where, out, *, seed=None):
    *progress, outcome = train(
        plan, where, out, seed=plan.seed if seed is None else seed, threads=1
    )
    return progress, outcome


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    data = write_rows(folder / "data.csv", opinions(80))
    recipe = recipe_of(epochs=2, dropout=0.1, head_learning_rate=1e-2)
    return plan_of(study_on(str(save_tiny(folder / "model")), data, recipe), MANY, seed=6)


def test_the_seed_of_the_plan_gives_the_score_of_the_trial_again(plan, tmp_path):
    """The plan has been through JSON, as it is when it reaches production."""
    plan = Plan.from_json(plan.to_json())

    progress, outcome = outcome_of(plan, plan.where, tmp_path)

    assert isinstance(outcome, Outcome)
    assert outcome.validation == outcome.promised == plan.expected.trial_score
    assert outcome.same_data
    assert (outcome.seed, outcome.steps, outcome.metric) == (plan.seed, 6, "accuracy")
    assert (outcome.parameters, outcome.head_parameters) == (plan.parameters, plan.head_parameters)
    assert progress == [step / 6 for step in range(1, 7)]


def test_the_test_part_is_scored_with_an_interval(plan, tmp_path):
    _, outcome = outcome_of(plan, plan.where, tmp_path)

    assert outcome.test_examples == plan.task.examples[2]
    assert outcome.test.mean != outcome.validation
    assert 0 <= outcome.test.low <= outcome.test.mean <= outcome.test.high <= 1
    assert outcome.test.low < outcome.test.high


def test_the_weights_that_are_left_give_the_scores_that_were_reported(plan, tmp_path):
    _, outcome = outcome_of(plan, plan.where, tmp_path)

    trainer = Trainer.open(plan.task, plan.backbone, plan.where, test=True, threads=1)
    with trainer.tuned(plan.slots, plan.configuration, plan.recipe, seed=99) as tuned:
        checkpoint.load(tuned, tmp_path / "adapter.safetensors")
        for part, score in (("validation", outcome.validation), ("test", outcome.test.mean)):
            predictions, _ = tuned.predict(trainer.parts[part])
            assert np.mean(predictions == trainer.parts[part].labels) == score


def test_the_weights_name_their_plan(plan, tmp_path):
    outcome_of(plan, plan.where, tmp_path)

    with safe_open(tmp_path / "adapter.safetensors", "pt") as file:
        assert file.metadata()["plan"] == plan.digest


def test_the_weights_say_on_what_they_were_trained_and_what_they_give(plan, tmp_path):
    """So that they can be verified elsewhere."""
    outcome_of(plan, plan.where, tmp_path)

    with safe_open(tmp_path / "adapter.safetensors", "pt") as file:
        says = file.metadata()
    assert len(json.loads(says["probe"])) == 24
    assert any("query" in name for name in json.loads(says["backbone"]))
    assert "labels" not in says


def test_a_regression_says_the_scale_of_its_labels(tmp_path):
    data = write_rows(tmp_path / "data.csv", degrees(80))
    study = study_on(str(save_tiny(tmp_path / "model")), data, recipe_of(), kind="regression")
    plan = plan_of(study, {"lora@attention.query": 2})

    outcome_of(plan, plan.where, tmp_path)

    with safe_open(tmp_path / "adapter.safetensors", "pt") as file:
        mean, spread = json.loads(file.metadata()["labels"])
    assert 98 < mean < 102
    assert 0 < spread < 3


def test_other_data_with_the_same_labels_may_be_trained_on(plan, tmp_path):
    """It is said that the promised score is not to be expected."""
    data = write_rows(tmp_path / "other.csv", opinions(60, seed=2))

    _, outcome = outcome_of(plan, replace(plan.where, data=data), tmp_path)

    assert not outcome.same_data
    assert outcome.test_examples == 12


def test_other_weights_are_refused(plan, tmp_path):
    other = Where(model=str(save_tiny(tmp_path / "other", seed=1)), data=plan.where.data)

    with pytest.raises(PlanError, match="does not have the weights that the plan was made for"):
        outcome_of(plan, other, tmp_path)
    assert not (tmp_path / "adapter.safetensors").exists()


@pytest.mark.filterwarnings("ignore:overflow")
def test_training_that_diverges_is_told_in_one_sentence_and_leaves_nothing(plan, tmp_path):
    rates = dict.fromkeys(plan.recipe.learning_rates, 1e30)
    recipe = replace(plan.recipe, learning_rates=rates, head_learning_rate=1e30)

    with pytest.raises(
        PlanError, match=r"training the plan diverged: .*; lower the learning rates in its recipe, "
    ):
        outcome_of(replace(plan, recipe=recipe), plan.where, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_lack_of_memory_is_told_in_one_sentence(plan, tmp_path, monkeypatch):
    def short(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr(Trainer, "measure", short)

    with pytest.raises(
        PlanError, match=r"memory ran out while training the plan \(Default.*\): end other .* lower"
    ):
        outcome_of(plan, plan.where, tmp_path)


def test_an_error_of_ours_keeps_its_traceback(plan, tmp_path, monkeypatch):
    def wrong(*_, **__):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(Trainer, "measure", wrong)

    with pytest.raises(RuntimeError, match="shapes differ"):
        outcome_of(plan, plan.where, tmp_path)


def test_other_labels_are_refused(plan, tmp_path):
    renamed = [row | {"label": row["label"].upper()} for row in opinions(80)]
    data = write_rows(tmp_path / "data.csv", renamed)

    with pytest.raises(PlanError, match="are BAD, GOOD, but the plan was made for bad, good: give"):
        outcome_of(plan, replace(plan.where, data=data), tmp_path)


def test_the_plan_decides_how_the_data_is_read(plan, tmp_path):
    """Not the names or looks of columns, which may mislead in production's data."""
    misleading = [{"sentence": "x", "target": "1"} | row for row in opinions(80)]
    data = write_rows(tmp_path / "data.csv", misleading)
    plan = replace(plan, task=replace(plan.task, head="cls", max_length=17, metric="macro_f1"))

    task = task_for(plan, data)

    assert (task.columns.text, task.columns.label) == ("text", "label")
    assert (task.head, task.max_length, task.metric) == ("cls", 17, "macro_f1")


def test_a_place_that_cannot_be_written_is_named(plan, tmp_path):
    with pytest.raises(OutputError, match=r"cannot write .*adapter\.safetensors: .* another --out"):
        outcome_of(plan, plan.where, tmp_path / "missing")


@pytest.mark.parametrize(
    ("kind", "family"),
    [("tokens", "bert"), ("causal_lm", "gpt2"), ("seq2seq", "bart"), ("image", "vit")],
)
def test_plans_for_every_kind_of_task_keep_their_promise(tmp_path, kind, family):
    if kind == "image":
        data = write_pictures(tmp_path / "data", 40)
    else:
        rows = tagged(60) if kind == "tokens" else continued(60)
        data = write_json(tmp_path / "data.jsonl", rows)
    model = str(save_model(tmp_path / "model", kind, family))
    named = {"kind": kind, "text": None, "label": None, "head": None}
    study = study_on(model, data, recipe_of(learning_rates={"lora": 1e-2}), **named)
    lora = [s.name for s in study.space.slots if s.method == "lora"][:4]
    plan = plan_of(study, dict.fromkeys(lora, 2))

    _, outcome = outcome_of(plan, plan.where, tmp_path)

    jsonschema.validate(to_json(plan.task), schema()["properties"]["task"])
    assert outcome.validation == outcome.promised
    assert outcome.test.low <= outcome.test.mean <= outcome.test.high
    assert outcome.test_examples == plan.task.examples[2]


def test_a_plan_on_a_real_model_keeps_its_promise(tmp_path):
    data = write_rows(tmp_path / "data.csv", sentiment_rows(120))
    recipe = recipe_of(batch_size=24, head_learning_rate=1e-2)
    plan = plan_of(study_on(MINILM, DataFiles(train=data.train), recipe), MANY)

    _, outcome = outcome_of(Plan.from_json(plan.to_json()), plan.where, tmp_path)

    assert outcome.validation == outcome.promised
    assert outcome.test_examples == 24
