"""What happens to a machine while a search runs: none of it changes what comes out."""

import subprocess
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest

from autopeft.service.job import JobState, Lane, resumed
from autopeft.storage.service.sql import SqlService
from autopeft.storage.sql import SqlStore
from tests.worker.premises import FINALS, TRIALS, Premises, in_thread
from tests.worker.test_searching import Meddling
from tests.worker.test_supervisor import LONGER, ROWS, begun, supervised, until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The same search in one go: its trials and its plan."""
    premises = Premises(tmp_path_factory.mktemp("whole"), rows=ROWS)
    job = premises.search(**LONGER)
    premises.work()
    yield premises.measured(job), premises.plan(job)
    premises.close()


@pytest.fixture(params=["sqlite", "postgres"])
def premises(request, tmp_path):
    """A service whose store is a file, or a server."""
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres")
    made = Premises(tmp_path / "service", rows=ROWS, url=url)
    yield made
    made.close()


def ended_once(premises, job):
    """Whether the end of each trial was told once, and each was begun once."""
    told = [h.data["number"] for h in premises.events(job, "trial") if h.data["score"]]
    attempts = [trial.attempts for trial in premises.store.trials(premises.job(job).study)]
    return sorted(told) == [*range(TRIALS + FINALS)] and attempts == [1] * (TRIALS + FINALS)


def test_of_two_supervisors_one_runs_a_job(premises, whole):
    """As on two machines: four processes look for work, and each trial is run once."""
    with supervised(premises), supervised(premises):
        until(lambda: len(premises.service.jobs.counts().workers) == 2)
        job = premises.search(**LONGER)
        until(lambda: premises.job(job).state.ended, 120)

    assert ended_once(premises, job)
    assert (premises.measured(job), premises.plan(job)) == whole


@pytest.mark.parametrize("jump", [-(10**7), 10**7])
@pytest.mark.parametrize("both", [True, False])
def test_a_clock_that_jumps_makes_no_work_twice(premises, whole, jump, both):
    """That of both workers, or of the one that works; the other one asks for work all the while."""
    now, over = [2e9], threading.Event()
    steady = premises.worker(stopping=over.is_set)
    premises.service = SqlService(premises.url, clock=lambda: now[0])
    premises.store = SqlStore(premises.url, clock=lambda: now[0])
    rival = premises.worker(stopping=over.is_set) if both else steady
    job = premises.search(**LONGER)
    premises.work(Lane.CHECKS)
    premises.store = Meddling(premises.store, 1, lambda: now.append(now.pop() + jump))

    claim = premises.service.jobs.claim(Lane.RUNS, "first")
    asking = in_thread(rival)
    premises.worker().do(claim)
    over.set()
    asking.join(60)

    assert premises.job(job).state is JobState.SUCCEEDED
    assert ended_once(premises, job)
    assert (premises.measured(job), premises.plan(job)) == whole


def test_a_server_that_is_away_for_half_a_minute_is_waited_for(server, postgres, tmp_path, whole):
    """Supervisor and lanes stay; the search goes on to the same plan."""
    premises = Premises(tmp_path / "service", rows=ROWS, url=postgres)
    job = premises.search(**LONGER)
    with supervised(premises) as process:
        until(lambda: begun(premises, job, 1))
        server.stop()
        try:
            threading.Event().wait(30)
        finally:
            server.start()
        done = until(lambda: (j := premises.job(job)).state.ended and j, 120)
        assert process.poll() is None

    warnings = [h.message for h in premises.events(job) if h.level == "warning"]
    assert done.state is JobState.SUCCEEDED, done.trouble
    assert any("could not be written for" in message for message in warnings), warnings
    assert (done.attempts, done.false_starts) == (0, 0)
    assert (premises.measured(job), premises.plan(job)) == whole
    premises.close()


@contextmanager
def a_small_disk(folder, size="24m"):
    """Give a folder a disk of its own."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder):
    """Leave no room on a disk; return the file that takes it."""
    file = folder / "filling"
    with file.open("wb", buffering=0) as stream:
        for block in (2**20, 2**12, 1):
            try:
                while stream.write(b"x" * block):
                    pass
            except OSError:
                continue
    return file


@pytest.mark.parametrize("what", ["all", "files"])
def test_a_full_disk_is_waited_for(tmp_path, whole, what):
    """Whether the store is on it or not; when there is room again the search goes on."""
    with a_small_disk(tmp_path / "disk") as disk:
        premises = Premises(disk / "s" if what == "all" else tmp_path / "s", rows=ROWS)
        premises.settings = premises.settings.model_copy(update={"files": str(disk / "files")})
        job = premises.search(**LONGER)
        premises.work(Lane.CHECKS)
        full = []

        def filled():
            full.append(fill(disk))
            threading.Timer(6.0, full[0].unlink).start()

        premises.store = Meddling(premises.store, TRIALS, filled)
        premises.worker(patience=60.0, again=0.2).run()
        done = premises.job(job)
        warnings = [h.message for h in premises.events(job) if h.level == "warning"]
        assert done.state is JobState.SUCCEEDED, done.trouble
        assert any("could not be written for" in message for message in warnings), warnings
        assert (premises.measured(job), premises.plan(job)) == whole
        premises.close()


@pytest.mark.parametrize("what", ["all", "files"])
def test_a_disk_that_stays_full_is_told_of_and_the_search_goes_on_later(tmp_path, whole, what):
    """Where nothing can be written, it is left as it is, and goes on with the next worker."""
    with a_small_disk(tmp_path / "disk") as disk:
        premises = Premises(disk / "s" if what == "all" else tmp_path / "s", rows=ROWS)
        premises.settings = premises.settings.model_copy(update={"files": str(disk / "files")})
        job = premises.search(**LONGER)
        premises.work(Lane.CHECKS)
        full = []
        inner = premises.store
        premises.store = Meddling(inner, TRIALS, lambda: full.append(fill(disk)))
        premises.service.close()
        dying = premises.worker(patience=1.0, again=0.2)
        code = dying.run()
        stopped = premises.job(job)
        full[0].unlink()
        premises.store = inner
        if what == "files":
            premises.service.jobs.change(job.id, resumed)
        else:  # as if its process had ended, which it does
            premises.service.jobs.change(job.id, lambda j: replace(j, state=JobState.QUEUED))
        premises.work(Lane.RUNS)

        if what == "files":
            assert (code, stopped.state, stopped.trouble.code) == (0, JobState.FAILED, "disk_full")
        else:
            assert (code, stopped.state) == (75, JobState.RUNNING)
        assert premises.job(job).state is JobState.SUCCEEDED, premises.job(job).trouble
        assert (premises.measured(job), premises.plan(job)) == whole
        premises.close()
