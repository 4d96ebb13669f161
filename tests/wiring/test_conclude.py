"""The end of a study: what is remembered of it."""

import re
from dataclasses import replace

import numpy as np
import pytest

from autopeft.errors import StudyError
from autopeft.evaluators.inherited import InheritedScores
from autopeft.plan import Plan
from autopeft.report import content_of
from autopeft.report.html import html_page
from autopeft.report.markdown import markdown
from autopeft.storage.memory import MemoryStore
from autopeft.trial import Proposal, Purpose
from autopeft.wiring.conclude import conclude
from tests.builders import a_measurement
from tests.models import opinions, recipe_of, save_tiny, study_on, table, write_rows


@pytest.fixture
def study(tmp_path):
    data = write_rows(tmp_path / "data.csv", opinions(80))
    return study_on(str(save_tiny(tmp_path / "model")), data, recipe_of())


@pytest.fixture
def store(study):
    """Fill a store with a baseline and a searched trial, the second with half the parameters."""
    store, slots = MemoryStore(), study.space.slots
    store.add_study(study)
    right = np.tile([0, 1], study.task.examples[1] // 2)
    for rank, purpose in ((2, Purpose.BASELINE), (1, Purpose.SEARCH)):
        configuration = table(slots, 2, {"lora@attention.query": rank})
        proposal = Proposal(
            configuration=configuration, recipe=study.recipe, seed=0, purpose=purpose
        )
        trial = store.start(study.id, store.add_trial(study.id, proposal))
        measured = a_measurement(0.5, configuration.parameters(slots), right)
        store.finish(study.id, trial.done(measured))
    return store


def test_the_answer_has_the_front_and_is_kept_with_its_plan(study, store):
    answer, plan = conclude(study, store)

    assert answer.front == (1,)
    assert answer.hypervolumes == (0.0, 0.0)
    assert answer.ranking is None
    assert plan.provenance.trial == answer.chosen
    assert store.answer(study.id) == (answer, plan)


def test_the_plan_says_what_its_numbers_rest_on(study, store):
    answer, plan = conclude(study, store)
    found = plan.evidence

    assert [(s.trial, s.purpose, s.seed) for s in found.scores] == [
        (0, Purpose.BASELINE, 0), (1, Purpose.SEARCH, 0)
    ]  # fmt: skip
    assert all(s.score.low <= s.score.mean == 0.5 <= s.score.high for s in found.scores)
    assert [(h.trial, h.difference, h.verdict) for h in found.baselines] == [
        (0, answer.difference, "not compared")
    ]
    assert found.hardware.cores >= 1
    assert found.study_seed == study.seed
    assert found.backbone_revision is None
    assert {"peft", "torch", "python"} <= set(plan.provenance.versions)
    assert Plan.from_json(plan.to_json()) == plan


def test_warnings_and_seconds_of_earlier_runs_stay(study, store):
    """What prepares a study counts the seconds of all runs; where that is lost, the most counts."""
    conclude(study, store, ["the supernet was given up: the loss became nan"], prepared=10.0)
    conclude(study, store)
    assert store.answer(study.id)[0].prepared == 10.0
    answer, _ = conclude(
        study, store, ["the supernet was given up: the loss became nan", "b"], prepared=12.5
    )

    assert answer.warnings == ("the supernet was given up: the loss became nan", "b")
    assert answer.prepared == 12.5


def test_a_supernet_whose_scores_are_no_numbers_reaches_both_reports(study, store, tmp_path):
    """As it is found in the cache, up to the words on the page; NaN itself is nowhere."""
    place = InheritedScores(study, tmp_path)._place()
    place.folder.mkdir(parents=True)
    for number in range(10):
        place.remember(str(number), float("nan"))

    problem = InheritedScores(study, tmp_path).problem
    answer, plan = conclude(study, store, (problem,))

    guided = replace(study, strategy="autopeft")
    content = content_of(guided, store.trials(study.id), answer, plan)
    for told in (html_page(content), markdown(content)):
        assert "no configuration has a score with the supernet" in told
        assert "There were none, for the reason above" in told
        assert re.search(r"\bnan\b", told, re.IGNORECASE) is None


def test_a_study_without_a_whole_training_is_not_concluded(study):
    store = MemoryStore()
    store.add_study(study)

    with pytest.raises(StudyError, match="no trial was run: raise --trials or --time"):
        conclude(study, store)
    assert store.answer(study.id) is None
