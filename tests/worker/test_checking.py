"""What is found out before a job runs, and what an estimate and a training come to."""

import json

import pytest

from autopeft.service.dataset import DatasetState
from autopeft.service.job import JobState, Kind, Lane, cancelled
from tests.models import opinions, write_rows
from tests.worker.premises import FINALS, TRIALS


def read(premises, dataset, **changes):
    """Let a worker read a data set; return the job and what became of the data set."""
    job = premises.add(Kind.DATASET, {"dataset": dataset.id}, **changes)
    premises.work(Lane.CHECKS)
    return premises.job(job), premises.service.datasets.dataset(dataset.id)


def csv_of(premises, rows=40):
    file = premises.folder / "upload.csv"
    write_rows(file, opinions(rows))
    return file.read_bytes()


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"model": "none"}, "invalid_model", "model"),
        ({"budget": "0.0001%"}, "invalid_budget", "budget"),
        ({"data": {"dataset": "dataset_x"}}, "invalid_data", "data.dataset"),
    ],
)
def test_a_search_that_cannot_be_run_fails_and_says_why(premises, changes, code, param):
    job = premises.search(**changes)

    premises.work()
    failed = premises.job(job)

    assert (failed.state, failed.study) == (JobState.FAILED, "")
    assert (failed.trouble.code, failed.trouble.param) == (code, param)


def test_a_search_that_is_cancelled_before_it_is_validated_stays_cancelled(premises):
    job = premises.search()
    claim = premises.service.jobs.claim(Lane.CHECKS, "tested")
    premises.service.jobs.change(job.id, cancelled)

    premises.worker(Lane.CHECKS, beat_every=0.0).do(claim)

    assert premises.job(job).state is JobState.CANCELLED


def test_what_does_not_take_place_is_said(premises):
    job = premises.search(warm_start="auto", strategy="autopeft")

    premises.work(Lane.CHECKS)

    warnings = [h.message for h in premises.events(job, "message") if h.level == "warning"]
    assert warnings == [
        "no earlier study is similar: there is nothing to start from",
        "a third of a training has too few steps to tell much: no trial stops early",
    ]


def test_a_data_set_is_read_and_then_searched(premises):
    dataset = premises.upload("reviews.csv", csv_of(premises))

    job, ready = read(premises, dataset)
    search = premises.search(data={"dataset": dataset.id})
    premises.work()

    assert (job.state, job.result) == (JobState.SUCCEEDED, {"state": "ready"})
    assert ready.state is DatasetState.READY
    assert (ready.found["rows"], ready.found["task"]) == (40, "classification")
    assert premises.job(search).state is JobState.SUCCEEDED


def test_a_data_set_that_cannot_be_used_says_why_and_names_no_place(premises):
    dataset = premises.upload("reviews.csv", b"\xff\xfe broken")

    job, invalid = read(premises, dataset)

    assert (job.state, job.result) == (JobState.SUCCEEDED, {"state": "invalid"})
    assert (invalid.state, invalid.trouble.code) == (DatasetState.INVALID, "invalid_data")
    assert invalid.trouble.detail.startswith("reviews.csv is not UTF-8")


def test_a_data_set_that_ends_its_readers_does_not_stay_open(premises):
    """Before the last try it counts as of no use; only having been read makes it ready."""
    dataset = premises.upload("reviews.csv", csv_of(premises))
    seen = []
    datasets = premises.service.datasets

    class Looking:
        def __getattr__(self, name):
            return getattr(datasets, name)

        def change(self, dataset_id, change):
            seen.append(datasets.change(dataset_id, change).state)

    premises.service._datasets = Looking()
    _, ready = read(premises, dataset, attempts=2)

    assert seen == [DatasetState.INVALID, DatasetState.READY]
    assert (ready.state, ready.trouble) == (DatasetState.READY, None)


def test_an_estimate_is_a_document(premises):
    job = premises.estimate()

    premises.work(Lane.CHECKS)
    done = premises.job(job)

    assert done.state is JobState.SUCCEEDED
    assert done.result["trainings"] == TRIALS + 2 * FINALS
    assert done.result["seconds"] > 0
    assert premises.store.studies() == ()


def test_an_estimate_of_what_cannot_be_searched_fails(premises):
    job = premises.estimate(space="none")

    premises.work(Lane.CHECKS)

    assert premises.job(job).trouble.param == "space"


@pytest.fixture
def searched(premises):
    """A search that has a plan."""
    job = premises.search()
    premises.work()
    return premises.job(job)


def test_a_plan_is_trained_and_scored_on_the_test_part(premises, searched):
    job = premises.add(Kind.TRAINING, {"search": searched.id, "threads": 1})

    premises.work(Lane.RUNS)
    done = premises.job(job)

    assert done.state is JobState.SUCCEEDED, done.trouble
    assert done.result["validation"] == done.result["promised"]
    files = premises.service.jobs.artifacts(job.id)
    assert [file.name for file in files] == ["adapter.safetensors", "outcome.json", "plan.json"]
    written = json.loads((premises.settings.folder / files[1].file).read_text())
    assert written == done.result


def test_a_plan_is_trained_on_other_data_of_its_owner(premises, searched):
    write_rows(premises.folder / "data" / "more.csv", opinions(80, seed=1))
    job = premises.add(Kind.TRAINING, {"search": searched.id, "data": {"path": "more.csv"}})

    premises.work(Lane.RUNS)

    assert premises.job(job).result["same_data"] is False


def test_a_plan_of_somebody_else_is_not_trained(premises, searched):
    job = premises.add(Kind.TRAINING, {"search": searched.id}, owner="bob")

    premises.work(Lane.RUNS)

    assert premises.job(job).trouble.code == "invalid_option"
    assert "has no plan yet: wait until it has succeeded" in premises.job(job).trouble.detail


def test_a_training_that_is_stopped_begins_again(premises, searched):
    job = premises.add(Kind.TRAINING, {"search": searched.id, "threads": 1})
    looks = []

    def stopping():
        looks.append(1)
        return len(looks) > 4

    premises.worker(stopping=stopping, beat_every=0.0, again=0.0).run()
    left = premises.job(job)
    premises.work(Lane.RUNS)

    assert left.state is JobState.QUEUED
    assert premises.job(job).state is JobState.SUCCEEDED
