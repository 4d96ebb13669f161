"""What a report is gathered from, and what is measured for it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autopeft.ablation import derived
from autopeft.errors import StudyError
from autopeft.report.content import Table
from autopeft.report.markdown import markdown
from autopeft.storage.memory import MemoryStore
from autopeft.tasks.reading import load_parts
from autopeft.trial import Proposal, Purpose
from autopeft.wiring.conclude import conclude
from autopeft.wiring.earlier import similar_studies
from autopeft.wiring.reported import ablate, reported
from tests.builders import a_measurement
from tests.models import opinions, recipe_of, save_tiny, study_on, table, write_rows

PARTS = "What the parts of the plan are worth"


@pytest.fixture
def study(tmp_path):
    data = write_rows(tmp_path / "data.csv", opinions(80))
    return study_on(str(save_tiny(tmp_path / "model")), data, recipe_of())


@pytest.fixture
def store(study):
    """Fill a store with a baseline that nothing beats and its two finals, and an answer."""
    store, slots = MemoryStore(), study.space.slots
    store.add_study(study)
    sizes = table(slots, 2, {"lora@attention.query": 2, "serial_adapter@ffn.norm": 1})
    recipe = replace(study.recipe, learning_rates={"lora": 1e-3, "serial_adapter": 1e-3})
    first = Proposal(configuration=sizes, recipe=recipe, seed=0, label="mixed",
                     purpose=Purpose.BASELINE)  # fmt: skip
    finals = [replace(first, purpose=Purpose.FINAL, of=0, seed=seed, label="") for seed in (1, 2)]
    right = load_parts(study.task, study.where.data, ["validation"])["validation"].truth
    for proposal in (first, *finals):
        trial = store.start(study.id, store.add_trial(study.id, proposal))
        measured = a_measurement(1.0, sizes.parameters(slots), right)
        store.finish(study.id, trial.done(measured))
    conclude(study, store)
    return store


def headings(content):
    return [section.heading for section in content.sections]


def table_of(content, heading):
    section = next(s for s in content.sections if s.heading == heading)
    return next(part for part in section.parts if isinstance(part, Table))


def test_a_study_without_an_answer_has_no_report(study):
    store = MemoryStore()
    store.add_study(study)

    with pytest.raises(StudyError, match="has no answer yet: run its search again to the end"):
        reported(study, store)
    with pytest.raises(StudyError, match="has no answer yet"):
        next(ablate(study, store))


def test_a_study_that_was_not_ablated_says_nothing_of_it(study, store):
    content = reported(study, store)

    assert "What mattered" in headings(content)
    assert PARTS not in headings(content)
    assert "fewer than 20 say nothing about what matters" in markdown(content)


@pytest.mark.slow
def test_an_ablation_is_measured_once_and_kept_beside_the_study(study, store):
    first = [trial for trial in ablate(study, store, threads=1) if trial.ended]
    again = list(ablate(study, store, threads=1))
    apart = derived(study, 0)

    assert [t.proposal.seed for t in first] == [1] * 5 + [2] * 5
    assert all(trial.complete for trial in first)
    assert again == []
    assert len(store.trials(apart.id)) == 10
    assert store.study("latest").id == study.id
    content = reported(study, store)
    rows = table_of(content, PARTS).rows
    assert [row[0] for row in rows] == [
        "without lora", "without serial_adapter", "without block 0", "without block 1",
        "without everything but the head",
    ]  # fmt: skip
    without_lora = [t.score for t in first if t.proposal.label == "without lora"]
    assert rows[0][2] == f"{np.mean(without_lora):.4f}"
    assert rows[0][3].startswith(f"{1 - np.mean(without_lora):.3f} [")
    assert rows[-1][1] == "0"
    assert similar_studies(replace(study, seed=5), store) == (study.id,)


@pytest.mark.slow
def test_data_that_is_gone_leaves_the_scores_of_the_seeds(study, store):
    list(ablate(study, store, threads=1))
    Path(study.where.data.train).unlink()

    assert "over the seeds alone, since the data could not be read" in markdown(
        reported(study, store)
    )


@pytest.mark.slow
def test_an_ablation_that_is_broken_off_goes_on_and_leaves_the_study_the_latest(study, store):
    going = ablate(study, store, threads=1)
    ended = 0
    for trial in going:
        ended += trial.ended
        if ended == 3:
            going.close()
            break

    assert store.study("latest").id == study.id
    rest = [trial for trial in ablate(study, store, threads=1) if trial.ended]
    assert len(rest) == 7
