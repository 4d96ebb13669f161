"""A model card says what was trained, how well it does, and what is not known."""

from dataclasses import replace

import pytest
import yaml

from autopeft.answer import Interval
from autopeft.plan import Expected
from autopeft.production.card import card
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
    assert "AdamW, 1 epochs, batches of 16, learning rates: lora" in text
    assert plan.digest[:12] in text
