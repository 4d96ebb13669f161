"""Worker processes as they run in earnest: started, stopped, killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from autopeft.service.job import JobState, Lane, cancelled
from autopeft.storage.processes import process_of
from autopeft.worker.stopping import Stopping
from autopeft.worker.supervisor import environment_of, supervise
from tests.worker.premises import FINALS, TRIALS, Premises

pytestmark = pytest.mark.slow
LONGER = {"recipe": {"epochs": 2, "batch_size": 8}}
ROWS = 200


def until(condition, seconds=60.0):
    """Wait for something that another process does."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen"
        pause.wait(0.02)
    return found


@contextmanager
def supervised(premises):
    """Run a supervisor, which is told to stop at the end."""
    settings = premises.settings.model_copy(update={"idle": 60.0})
    process = subprocess.Popen(
        [sys.executable, "-m", "autopeft.worker", "--tied"],
        stdin=subprocess.PIPE,
        env=environment_of(premises.url, settings)
        | {"AUTOPEFT_CACHE": str(premises.folder / "cache"), "OMP_NUM_THREADS": "1"},
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def children(pid):
    """Return the living processes that a process has started, by the end of their command line."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            words = (folder / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if fields[1] == str(pid) and fields[0] != "Z" and "--only" in words:
            found[words[words.index("--only") + 1]] = int(folder.name)
    return found


def lane_of(process, lane):
    return until(lambda: children(process.pid).get(lane))


def begun(premises, job, number):
    """Whether a trial has begun."""
    told = premises.events(job, "trial")
    return any(h.data["number"] == number for h in told)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The same search without any interruption."""
    premises = Premises(tmp_path_factory.mktemp("whole"), rows=ROWS)
    job = premises.search(**LONGER)
    premises.work()
    yield premises.measured(job), premises.plan(job)
    premises.close()


@pytest.fixture
def premises(tmp_path):
    made = Premises(tmp_path, rows=ROWS)
    yield made
    made.close()


def test_kill_9_of_lanes_in_the_middle_of_trials_changes_nothing(premises, whole):
    job = premises.search(**LONGER)
    with supervised(premises) as process:
        killed = []
        for number in (0, 2, TRIALS):
            until(lambda n=number: begun(premises, job, n))
            pid = lane_of(process, "runs")
            killed.append(process_of(pid))
            os.kill(pid, signal.SIGKILL)
        done = until(lambda: (j := premises.job(job)).state.ended and j)

    assert done.state is JobState.SUCCEEDED, done.trouble
    assert len({each.pid for each in killed}) == 3
    assert (premises.measured(job), premises.plan(job)) == whole
    ended = [h.data["number"] for h in premises.events(job, "trial") if h.data["score"]]
    assert sorted(ended) == [*range(TRIALS + FINALS)]


def test_no_lane_outlives_a_supervisor_that_is_killed(premises, whole):
    """The job goes back to the queue in an orderly way, and on under the next supervisor."""
    job = premises.search(**LONGER)
    with supervised(premises) as process:
        until(lambda: begun(premises, job, 1))
        lanes = [process_of(pid) for pid in children(process.pid).values()]
        process.kill()
        until(lambda: not any(lane.lives for lane in lanes))
        left = premises.job(job)
    with supervised(premises):
        until(lambda: premises.job(job).state.ended)

    assert (len(lanes), left.state, left.attempts) == (2, JobState.QUEUED, 0)
    assert (premises.measured(job), premises.plan(job)) == whole


def test_a_supervisor_that_is_told_to_stop_leaves_nothing_running(premises):
    job = premises.search(**LONGER)
    with supervised(premises) as process:
        until(lambda: begun(premises, job, 0))
        lanes = [process_of(pid) for pid in children(process.pid).values()]

    assert process.returncode == 0
    assert not any(lane.lives for lane in lanes)
    assert premises.job(job).state is JobState.QUEUED
    messages = [h.message for h in premises.events(job)]
    assert "the worker is shutting down; this goes on from what is recorded" in messages


def test_a_supervisor_ends_when_its_parent_is_gone(premises):
    with supervised(premises) as process:
        process.stdin.close()

        assert process.wait(30) == 0


def test_a_job_is_cancelled_while_its_worker_loads_a_model(premises):
    job = premises.search(**LONGER)
    with supervised(premises):
        until(lambda: premises.job(job).state is JobState.RUNNING)
        premises.service.jobs.change(job.id, cancelled)
        until(lambda: premises.job(job).state is JobState.CANCELLED)


def test_a_lane_is_started_only_where_there_is_work(premises):
    """An idle service keeps no torch in memory."""
    stopping, code = Stopping(), []
    thread = threading.Thread(
        target=lambda: code.append(
            supervise(premises.url, [Lane.CHECKS, Lane.RUNS], premises.settings, stopping=stopping)
        )
    )
    thread.start()
    until(lambda: premises.service.jobs.counts().workers.get(Lane.RUNS))
    idle = children(os.getpid())
    job = premises.estimate()
    lane = process_of(until(lambda: children(os.getpid()).get("checks")))
    until(lambda: premises.job(job).state.ended)
    until(lambda: not lane.lives)
    stopping.ask()
    thread.join(30)

    assert (idle, code) == ({}, [0])
    assert premises.job(job).state is JobState.SUCCEEDED
    assert not any(premises.service.jobs.counts().workers.values()), "it has not signed off"
