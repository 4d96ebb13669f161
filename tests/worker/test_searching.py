"""A search that was submitted: up to its plan, whatever comes in between."""

import json
from dataclasses import replace

import pytest

from autopeft.errors import OutputError, StoreError
from autopeft.service.job import JobState, Lane, cancelled, extended, paused, resumed
from autopeft.storage.processes import this_process
from autopeft.storage.service.sql import SqlService
from autopeft.trial import Purpose, State
from tests.worker.premises import FINALS, TRIALS, Premises

DEAD = replace(this_process(), pid=2**22 + 1)
"""A process whose number no system gives."""


class Meddling:
    """Wraps a store: does something when the end of a trial is to be remembered."""

    def __init__(self, inner, number, act, *, times=1):
        self._inner = inner
        self._number = number
        self._act = act
        self._left = times

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def finish(self, study_id, trial):
        if trial.number == self._number and self._left:
            self._left -= 1
            self._act()
        self._inner.finish(study_id, trial)


def raising(error):
    """Return a function that raises."""

    def act():
        raise error

    return act


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The same search, run to its end in one go: its trials and its plan."""
    premises = Premises(tmp_path_factory.mktemp("whole"))
    job = premises.search()
    premises.work()
    assert premises.job(job).state is JobState.SUCCEEDED, premises.job(job).trouble
    yield premises.measured(job), premises.plan(job)
    premises.close()


@pytest.fixture
def validated(premises):
    """A search that waits for a worker."""
    job = premises.search()
    premises.work(Lane.CHECKS)
    return premises.job(job)


def meddled(premises, number, act, **changes):
    """Work on searches with a store that does something at the end of a trial."""
    premises.store = Meddling(premises.store, number, act, **changes)
    premises.worker(beat_every=0.0, again=0.0).run()


def test_a_search_is_validated_then_run_to_its_plan(premises):
    job = premises.search(owner="ada")

    premises.work(Lane.CHECKS)
    valid = premises.job(job)
    premises.work(Lane.RUNS)
    done = premises.job(job)

    assert (valid.state, premises.store.study(valid.study).owner) == (JobState.QUEUED, "ada")
    assert done.state is JobState.SUCCEEDED
    assert done.result["sentence"].startswith("serial adapter")
    assert done.result["answer"]["trials"] == len(premises.store.trials(done.study))
    assert (done.progress.phase, done.progress.share, done.progress.remaining) == (
        *("concluding", 1.0, 0.0),
    )
    assert done.progress.trials == done.progress.of == TRIALS + FINALS


def test_its_files_are_there_and_name_no_place_of_the_machine(premises, validated):
    premises.work(Lane.RUNS)

    files = premises.service.jobs.artifacts(validated.id)
    texts = [(premises.settings.folder / file.file).read_text() for file in files]
    plan = json.loads(texts[0])

    assert [file.name for file in files] == ["plan.json", "report.html", "report.md"]
    assert [file.bytes for file in files] == [len(text.encode()) for text in texts]
    assert plan["where"] == {
        "model": "tiny",
        "data": {"train": "opinions.csv", "validation": None, "test": None},
    }
    told = [str(happening) for happening in premises.events(validated)]
    assert not [text for text in (*texts, *told) if str(premises.folder) in text]


def test_the_events_tell_what_began_and_how_it_ended(premises, validated):
    premises.work(Lane.RUNS)

    trials = [happening.data for happening in premises.events(validated, "trial")]
    numbers = range(TRIALS + FINALS)
    assert [(t["number"], t["state"]) for t in trials] == [
        (number, state) for number in numbers for state in ("running", "complete")
    ]
    known = premises.store.trials(validated.study)
    assert [t["score"] for t in trials[1::2]] == [trial.score for trial in known]
    assert [t["parameters"] for t in trials[1::2]] == [t.measurement.parameters for t in known]
    phases = [h.data["phase"] for h in premises.events(validated, "progress")]
    assert phases == ["reading", "trials", "finals", "concluding"]
    states = [happening.data["state"] for happening in premises.events(validated, "state")]
    assert states == ["validating", "queued", "running", "succeeded"]


@pytest.mark.parametrize("number", [0, 2, TRIALS])
def test_a_search_that_is_paused_goes_on_to_the_same_plan(premises, validated, number, whole):
    """Paused while a trial ends: in the first, between two, and in the finals."""
    meddled(premises, number, lambda: premises.service.jobs.change(validated.id, paused))
    stopped = premises.job(validated)
    known = premises.store.trials(stopped.study)
    premises.service.jobs.change(validated.id, resumed)
    premises.work()

    assert stopped.state is JobState.PAUSED
    assert [trial.state for trial in known] == [State.COMPLETE] * (number + 1)
    assert (premises.measured(validated), premises.plan(validated)) == whole


def test_a_search_that_is_cancelled_keeps_what_was_measured(premises, validated):
    meddled(premises, 1, lambda: premises.service.jobs.change(validated.id, cancelled))

    assert premises.job(validated).state is JobState.CANCELLED
    assert len(premises.store.trials(validated.study)) == 2


def test_a_search_is_extended_while_it_runs(premises, validated):
    """It goes on at once with the new limits, by the same worker."""
    more = {"trials": TRIALS + 2}
    meddled(
        premises, 1, lambda: premises.service.jobs.change(validated.id, lambda j: extended(j, more))
    )

    done = premises.job(validated)
    assert done.state is JobState.SUCCEEDED
    purposes = [trial.proposal.purpose for trial in premises.store.trials(validated.study)]
    assert sum(purpose is not Purpose.FINAL for purpose in purposes) == TRIALS + 2
    assert "the limits were changed; the search goes on with them" in [
        happening.message for happening in premises.events(validated)
    ]


def test_a_search_that_has_succeeded_is_extended(premises, validated):
    premises.work(Lane.RUNS)
    premises.service.jobs.change(validated.id, lambda job: extended(job, {"trials": TRIALS + 1}))
    premises.work(Lane.RUNS)

    done = premises.job(validated)
    numbers = [h.data["number"] for h in premises.events(validated, "trial") if h.data["score"]]
    assert done.state is JobState.SUCCEEDED
    assert len(numbers) == len(set(numbers)) == len(premises.store.trials(done.study))


def test_a_worker_that_is_told_to_stop_puts_the_search_back(premises, validated, whole):
    stopping = []
    premises.store = Meddling(premises.store, 1, lambda: stopping.append(True))
    premises.worker(stopping=lambda: bool(stopping), beat_every=0.0).run()
    left = premises.job(validated)
    premises.work(Lane.RUNS)

    assert (left.state, left.attempts) == (JobState.QUEUED, 0)
    assert premises.events(validated, "state")[-3].data["state"] == "queued"
    assert (premises.measured(validated), premises.plan(validated)) == whole


def test_a_store_that_is_away_while_a_trial_ends_is_waited_for(premises, validated, whole):
    """The trial is not trained again: its end is written when the store is back."""
    gone = StoreError("the store cannot be used")
    meddled(premises, 2, raising(gone), times=2)

    assert premises.job(validated).state is JobState.SUCCEEDED
    assert [trial.attempts for trial in premises.store.trials(validated.study)][2] == 1
    assert (premises.measured(validated), premises.plan(validated)) == whole


class Away(Meddling):
    """Wraps a store that is away when a trial is to be begun, and when it is to be put back."""

    def start(self, study_id, trial):
        started = self._inner.start(study_id, trial)
        if trial.number == self._number and self._left:
            self._left -= 1
            raise StoreError("the store cannot be used")
        return started


def test_a_search_goes_on_when_the_store_is_back(premises, validated, whole):
    """What the outage left as running counts as no attempt of the trial, and nothing is doubled."""
    premises.store = Away(premises.store, 1, lambda: None)
    premises.worker(beat_every=0.0, again=0.0).run()

    warnings = [h.message for h in premises.events(validated) if h.level == "warning"]
    assert premises.job(validated).state is JobState.SUCCEEDED
    assert any("could not be written for" in message for message in warnings)
    assert [trial.attempts for trial in premises.store.trials(validated.study)][1] == 1
    assert (premises.measured(validated), premises.plan(validated)) == whole


def test_a_store_error_that_comes_again_and_again_is_the_end(premises, validated):
    premises.store = Away(premises.store, 1, lambda: None, times=99)
    premises.worker(beat_every=0.0, again=0.0).run()

    assert premises.job(validated).trouble.code == "store_unavailable"


def test_a_full_disk_is_waited_for_then_named(premises, validated, monkeypatch):
    """The results cannot be written; what was measured is kept, and resuming finishes at once."""
    folder = premises.settings.folder / "jobs" / validated.id
    full = OSError(28, "No space left on device")

    def no_room(*_):
        try:
            raise full
        except OSError:
            raise OutputError(f"cannot write {folder}: No space left on device") from None

    with monkeypatch.context() as patch:
        patch.setattr("autopeft.worker.means.write_text", no_room)
        premises.worker(beat_every=0.0, again=0.0).run()
    stopped = premises.job(validated)
    premises.service.jobs.change(validated.id, resumed)
    premises.work()

    assert (stopped.state, stopped.trouble.code) == (JobState.FAILED, "disk_full")
    assert str(premises.folder) not in stopped.trouble.detail
    assert premises.job(validated).state is JobState.SUCCEEDED
    assert len(premises.store.trials(validated.study)) == TRIALS + FINALS


def test_an_error_of_our_own_says_nothing_of_the_inside(premises, validated):
    meddled(premises, 1, raising(ZeroDivisionError("secret")))

    trouble = premises.job(validated).trouble
    assert trouble.code == "internal"
    assert f"its log names {validated.id}" in trouble.detail
    assert "secret" not in trouble.detail


def test_memory_that_runs_out_outside_of_a_trial_is_named(premises, validated):
    meddled(premises, 1, raising(MemoryError()))

    assert premises.job(validated).trouble.code == "out_of_memory"


def test_a_search_without_any_measured_trial_has_no_answer(premises, validated):
    premises.service.jobs.change(validated.id, lambda job: extended(job, {"seconds": 1e-9}))
    premises.work(Lane.RUNS)

    done = premises.job(validated)
    assert (done.state, done.trouble.code, done.trouble.param) == (
        *(JobState.FAILED, "no_answer", "limits"),
    )


def test_a_job_that_somebody_else_has_taken_is_left_alone(premises, validated):
    """As after a nap of the machine: the other one's result stands."""

    def taken():
        premises.service.jobs.change(validated.id, lambda job: replace(job, state=JobState.PAUSED))

    meddled(premises, 1, taken)

    assert premises.job(validated).state is JobState.PAUSED


def test_a_trial_that_ends_every_worker_is_given_up_and_the_search_goes_on(premises, validated):
    """As where memory is short for it: after three attempts the trial has failed, not the job."""
    alive = premises.service
    for _ in range(3):
        premises.service = SqlService(premises.url, process=lambda: DEAD)
        with pytest.raises(SystemExit):
            meddled(premises, 1, raising(SystemExit()))
        premises.service.close()
    premises.service = alive
    premises.work()

    done = premises.job(validated)
    trial = premises.store.trials(done.study)[1]
    assert (done.state, trial.state) == (JobState.SUCCEEDED, State.FAILED)
    assert trial.failure.startswith("the process ended 3 times while it ran")


def test_of_two_equal_searches_the_second_measures_nothing_again(premises, validated):
    premises.work(Lane.RUNS)
    again = premises.search()
    premises.work()

    assert premises.job(again).study == validated.study
    assert premises.job(again).state is JobState.SUCCEEDED
    assert premises.events(again, "trial") == []
    assert [trial.attempts for trial in premises.store.trials(validated.study)] == [1] * 5


def test_a_stop_while_the_supernet_is_trained_is_orderly(premises):
    """The search is put back in the middle of it, and goes on to its plan."""
    job = premises.search(strategy="autopeft", limits={"trials": 6, "finals": 1})
    premises.work(Lane.CHECKS)

    def stopping():
        return any(h.data["phase"] == "supernet" for h in premises.events(job, "progress"))

    premises.worker(stopping=stopping, beat_every=0.0, again=0.0).run()
    left = premises.job(job)
    premises.work(Lane.RUNS)

    assert left.state is JobState.QUEUED
    assert premises.job(job).state is JobState.SUCCEEDED
    phases = [h.data["phase"] for h in premises.events(job, "progress")]
    assert {"reading", "trials", "supernet", "scores", "finals", "concluding"} == set(phases)


@pytest.mark.parametrize("pack", [1, 4])
def test_trials_of_a_search_train_together_where_that_is_asked_for(premises, pack):
    job = premises.search(strategy="random", run={"pack": pack, "threads": 1})

    premises.work()

    assert premises.job(job).state is JobState.SUCCEEDED, premises.job(job).trouble
    trials = premises.store.trials(premises.job(job).study)
    assert all(trial.measurement for trial in trials)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_several_trials_run_at_once_with_ray(premises):
    job = premises.search(run={"executor": "ray", "workers": 2, "threads": 1})

    premises.work()

    assert premises.job(job).state is JobState.SUCCEEDED, premises.job(job).trouble
    assert [trial.attempts for trial in premises.store.trials(premises.job(job).study)] == [1] * 5
