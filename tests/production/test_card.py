"""A model card says what was trained, how well it does, and what is not known."""

from dataclasses import replace

import pytest
import yaml

from autopeft.answer import Interval
from autopeft.evidence import Evidence, Expected, Hardware, Held
from autopeft.production.card import Drawn, card
from autopeft.study import DataFiles
from tests.production.plans import LORA, plan_on

OUTCOME = {
    "metric": "accuracy",
    "test": {"mean": 0.87, "low": 0.8, "high": 0.92},
    "test_examples": 40,
}


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return plan_on(tmp_path_factory.mktemp("card") / "model", LORA)


def front(text):
    return yaml.safe_load(text.split("---")[1])


def test_the_front_matter_is_what_hubs_read(plan):
    found = front(card(plan, outcome=OUTCOME, licence="apache-2.0"))

    assert found["base_model"] == plan.backbone.name
    assert (found["license"], found["pipeline_tag"]) == ("apache-2.0", "text-classification")
    assert found["tags"] == ["autopeft", "peft", "lora"]
    (result,) = found["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "accuracy", "value": 0.87}]


def test_scores_have_their_intervals(plan):
    expected = Expected(
        metric="accuracy",
        trial_score=0.9,
        seeds=3,
        interval=Interval(mean=0.9, low=0.85, high=0.93),
    )

    text = card(replace(plan, expected=expected), outcome=OUTCOME)

    assert "| validation, in the search | accuracy | 0.9000 | 0.8500 to 0.9300 | 3 |" in text
    assert "| test (40 examples) | accuracy | 0.8700 | 0.8000 to 0.9200 | 1 |" in text


def test_the_front_is_shown_where_it_was_drawn(plan):
    drawn = Drawn(file="front.png", title="accuracy against parameters", text="5 trials.")

    text = card(plan, drawn=drawn)

    assert "![accuracy against parameters](front.png)\n\n5 trials." in text
    assert "![" not in card(plan)


def test_every_baseline_is_named_with_the_difference_and_its_interval(plan):
    held = Held(
        trial=0, name="plain LoRA", parameters=110, seeds=3, verdict="better",
        difference=Interval(mean=0.02, low=0.01, high=0.03),
    )  # fmt: skip
    machine = Hardware(system="Linux", processor="a processor", cores=2, accelerator=None)
    evidence = Evidence(
        code="abc", backbone_revision=None, hardware=machine, study_seed=0, scores=(),
        baselines=(held,), ranking=None,
    )  # fmt: skip

    text = card(replace(plan, evidence=evidence))

    assert "- minus plain LoRA (110 parameters): 0.020 [0.010, 0.030], over 3 seeds: better" in text


def test_data_is_named_without_the_place_on_a_machine(plan):
    """A card is published."""
    where = replace(plan.where, data=DataFiles(train="/home/someone/data/mine.csv"))

    text = card(replace(plan, where=where), outcome=OUTCOME)

    assert "`mine.csv`, content" in text
    assert "/home" not in text


def test_what_was_not_measured_is_not_claimed(plan):
    text = card(plan)

    assert "Nothing was measured: the plan is a published configuration." in text
    assert "model-index" not in front(text)


def test_licences_are_never_guessed(plan):
    text = card(plan, data_licence="CC-BY-4.0")

    assert front(text)["license"] == "other"
    assert "the licence of these weights is not stated: look it up before you publish" in text
    assert "Data: CC-BY-4.0." in text
    assert "the licence of the data is not stated" not in text


def test_the_data_and_the_recipe_are_named(plan):
    text = card(plan)

    assert "30 examples to train on, 10 for validation, 10 for the test (split seed 0)" in text
    assert "AdamW, 1 epoch, batches of 16, learning rates: lora" in text
    assert plan.digest[:12] in text
