"""What is found out before a job runs, and what an estimate and a training come to."""

import io
import json
import zipfile
from dataclasses import replace

import pytest

from autopeft.service.dataset import DatasetState
from autopeft.service.event import Happening
from autopeft.service.job import MOST_FALSE_STARTS, JobState, Kind, Lane, cancelled
from autopeft.worker import checking
from tests.models import opinions, write_rows
from tests.worker.premises import FINALS, TRIALS, in_thread


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


def test_that_saasbo_would_only_draw_at_random_is_said(premises):
    """Of as many trials as it draws at first there is none that it proposes itself."""
    job = premises.search(strategy="saasbo", limits={"trials": 20})

    premises.work(Lane.CHECKS)

    [warning] = [h.message for h in premises.events(job, "message") if h.level == "warning"]
    assert warning.startswith("the first 20 trials of saasbo are random draws, and no more are")


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
    _, ready = read(premises, dataset, false_starts=MOST_FALSE_STARTS - 1)

    assert seen == [DatasetState.INVALID, DatasetState.READY]
    assert (ready.state, ready.trouble) == (DatasetState.READY, None)


def test_a_data_set_whose_reading_fails_inside_of_the_service_is_of_no_use(premises, monkeypatch):
    """Or whoever waits for it would wait for ever."""
    dataset = premises.upload("reviews.csv", csv_of(premises))
    monkeypatch.setattr("autopeft.wiring.uploaded.found_in", lambda _: 1 / 0)

    job, invalid = read(premises, dataset)

    assert (job.state, job.trouble.code) == (JobState.FAILED, "internal")
    assert (invalid.state, invalid.trouble) == (DatasetState.INVALID, job.trouble)


def test_a_data_set_that_is_gone_when_its_reading_fails_is_no_trouble(premises, monkeypatch):
    dataset = premises.upload("reviews.csv", csv_of(premises))

    def gone(_):
        premises.service.jobs.change(job.id, lambda j: replace(j, request={"dataset": "gone"}))
        raise ZeroDivisionError

    job = premises.add(Kind.DATASET, {"dataset": dataset.id})
    monkeypatch.setattr("autopeft.wiring.uploaded.found_in", gone)
    premises.worker(Lane.CHECKS, beat_every=0.0).run()

    assert premises.job(job).trouble.code == "internal"


def check_of(premises, dataset, **changes):
    """Add the job that reads a data set, as an upload does."""
    name = f"check_{dataset.id.partition('_')[2]}"
    job = premises.add(Kind.DATASET, {"dataset": dataset.id}, id=name, **changes)
    return premises.job(job)


@pytest.mark.parametrize("submit", ["search", "estimate"])
def test_what_names_a_data_set_waits_until_it_has_been_read(premises, submit):
    """Whatever its priority: it lets the reading go first, and no worker counts as lost."""
    dataset = premises.upload("reviews.csv", csv_of(premises))
    reading = check_of(premises, dataset)
    job = getattr(premises, submit)(data={"dataset": dataset.id})
    premises.service.jobs.change(job.id, lambda j: replace(j, priority=7))

    premises.work(Lane.CHECKS)

    done = premises.job(job)
    assert done.trouble is None
    assert (done.attempts, done.false_starts) == (0, 0)
    assert premises.job(reading).state is JobState.SUCCEEDED
    assert (bool(done.study) if submit == "search" else done.result["seconds"] > 0) is True


def test_what_names_a_data_set_that_another_worker_reads_waits_for_it(premises):
    dataset = premises.upload("reviews.csv", csv_of(premises))
    check_of(premises, dataset)
    claim = premises.service.jobs.claim(Lane.CHECKS, "another")
    search = premises.search(data={"dataset": dataset.id})
    waiting = in_thread(premises.worker(Lane.CHECKS))
    while premises.service.jobs.waiting(Lane.CHECKS):  # until it has been taken
        pass
    premises.worker(Lane.CHECKS).do(claim)
    waiting.join(60)

    assert premises.job(search).state is JobState.QUEUED


def test_a_data_set_that_takes_too_long_to_read_is_of_no_use(premises, monkeypatch):
    monkeypatch.setattr(checking, "MOST_SECONDS", 0.0)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(2_000):
            archive.writestr(f"cats/{number}.png", b"tiny")
    dataset = premises.upload("pets.zip", packed.getvalue())
    reading = check_of(premises, dataset)

    premises.worker(Lane.CHECKS, main=True).run()

    known = premises.service.datasets.dataset(dataset.id)
    assert known.state is DatasetState.INVALID
    assert "it takes more than 0 seconds to read pets.zip: upload a part of" in known.trouble.detail
    assert premises.job(reading).state is JobState.SUCCEEDED
    left = {file.name for file in (premises.settings.folder / "datasets" / dataset.id).iterdir()}
    assert left == {"pets.zip"}


def test_a_search_that_waits_for_a_data_set_gives_way_to_other_work(premises):
    """It would hold the process that could do it."""
    dataset = premises.upload("reviews.csv", csv_of(premises))
    check_of(premises, dataset)
    reading = premises.service.jobs.claim(Lane.CHECKS, "another")
    search = premises.search(data={"dataset": dataset.id})
    held = premises.service.jobs.claim(Lane.CHECKS, "tested")
    other = premises.search(owner="bob")

    premises.worker(Lane.CHECKS).do(held)

    assert premises.job(search).state is JobState.VALIDATING
    assert premises.service.jobs.claim(Lane.CHECKS, "tested").job.id == other.id
    assert reading.beat().state is JobState.RUNNING


def test_a_data_set_that_nobody_reads_is_not_waited_for(premises):
    dataset = premises.upload("reviews.csv", csv_of(premises))
    check_of(premises, dataset, state=JobState.PAUSED)
    search = premises.search(data={"dataset": dataset.id})

    premises.work(Lane.CHECKS)

    assert "is still being read: wait until it is ready" in premises.job(search).trouble.detail


def test_a_search_that_is_validated_has_got_on(premises):
    """Workers that were lost before do not count against its trials."""
    job = premises.search(owner="ada")
    premises.service.jobs.change(job.id, lambda j: replace(j, false_starts=3))

    premises.work(Lane.CHECKS)

    assert (premises.job(job).state, premises.job(job).false_starts) == (JobState.QUEUED, 0)


def test_an_estimate_is_a_document(premises):
    job = premises.estimate()

    premises.work(Lane.CHECKS)
    done = premises.job(job)

    assert done.state is JobState.SUCCEEDED
    assert done.result["trainings"] == TRIALS + 2 * FINALS
    assert done.result["seconds"] > 0
    assert premises.store.studies() == ()


def test_an_estimate_knows_how_much_memory_the_search_may_have(premises):
    jobs = [premises.estimate(), premises.estimate(run={"memory": 2**28})]

    premises.work(Lane.CHECKS)

    usual, short = (premises.job(job).result for job in jobs)
    assert (usual["examples_at_once"] > 1, usual["activations_twice"]) == (True, False)
    assert (short["examples_at_once"], short["activations_twice"]) == (0, True)


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


def test_a_training_that_loses_its_worker_gets_on_only_where_it_never_was(premises, searched):
    """One that ends every worker at nine tenths is not tried for ever."""
    job = premises.add(Kind.TRAINING, {"search": searched.id, "threads": 1}, attempts=2)
    told = {"phase": "training", "share": 1.0}
    known = Happening(kind="progress", message="", data=told)
    premises.service.jobs.change(job.id, lambda j: j, known)

    premises.work(Lane.RUNS)
    before = premises.job(job).attempts
    again = premises.add(Kind.TRAINING, {"search": searched.id, "threads": 1}, attempts=2)
    premises.work(Lane.RUNS)

    assert (before, premises.job(again).attempts) == (2, 0)


def test_a_training_with_more_threads_than_allowed_is_refused(premises, searched):
    premises.settings = premises.settings.model_copy(update={"threads": 1})
    job = premises.add(Kind.TRAINING, {"search": searched.id, "threads": 2})

    premises.work(Lane.RUNS)

    trouble = premises.job(job).trouble
    assert (trouble.code, trouble.param) == ("invalid_option", "threads")
    assert trouble.detail == "this service gives at most 1 threads, and not 2: ask for fewer"


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
