"""The store in a SQLite file: what every store promises, reopened, shared and killed."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autopeft.errors import StudyError
from autopeft.storage.sql import SqlStore
from tests.contracts.store import (
    StoreContract,
    Surroundings,
    a_measurement,
    a_plan,
    a_proposal,
    a_study,
    an_answer,
)

ROOT = Path(__file__).parents[2]
STUDY = a_study()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "studies.db"


@pytest.fixture
def store(file: Path) -> Iterator[SqlStore]:
    """A store that holds one study."""
    store = SqlStore(f"sqlite:///{file}")
    store.add_study(STUDY)
    yield store
    store.close()


class TestSqlStore(StoreContract):
    """A SQLite file keeps what every store promises."""

    @pytest.fixture
    def store(self, file: Path, surroundings: Surroundings) -> Iterator[SqlStore]:
        store = SqlStore(
            f"sqlite:///{file}", clock=surroundings.clock, process=surroundings.this_process
        )
        yield store
        store.close()


def finished(store: SqlStore, score: float = 0.91, predictions: bytes = b"") -> None:
    """Take a trial from its proposal to its measurement."""
    started = store.start(STUDY.id, store.add_trial(STUDY.id, a_proposal()))
    store.finish(STUDY.id, started.done(a_measurement(score, predictions)))


def query(file: Path, sql: str) -> list[tuple[object, ...]]:
    """Ask the file itself, as a person with a SQLite shell does."""
    connection = sqlite3.connect(file)
    try:
        with connection:
            return connection.execute(sql).fetchall()
    finally:
        connection.close()


def child(code: str, *arguments: str) -> "subprocess.Popen[str]":
    """Run Python code in a process of its own."""
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import sys; from tests.storage.test_sql import *\n{code}",
            *arguments,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_reopening_gives_equal_records(file, store):
    """Studies, trials and answers are all there."""
    finished(store, predictions=b"\x00\x01")
    store.save_answer(STUDY.id, an_answer(), a_plan())
    before = store.studies(), store.trials(STUDY.id), store.answer(STUDY.id)
    store.close()

    again = SqlStore(str(file))

    assert (again.studies(), again.trials(STUDY.id), again.answer(STUDY.id)) == before


def test_a_person_can_query_trials_and_times(file):
    """State, score, parameters and purpose are columns; times are in UTC."""
    surroundings = Surroundings()
    store = SqlStore(str(file), clock=surroundings.clock)
    store.add_study(STUDY)
    trial = store.add_trial(STUDY.id, a_proposal())
    surroundings.seconds += 1
    started = store.start(STUDY.id, trial)
    surroundings.seconds += 1
    for _ in range(2):  # the second time changes nothing, the time of the end included
        store.finish(STUDY.id, started.done(a_measurement(0.75)))
        surroundings.seconds += 1

    columns = "number, purpose, state, score, parameters, created, started, ended"
    assert query(file, f"SELECT {columns} FROM trials") == [
        (
            *(0, "search", "complete", 0.75, 24),
            "2023-11-14 22:13:20.000000",
            "2023-11-14 22:13:21.000000",
            "2023-11-14 22:13:22.000000",
        )
    ]
    assert query(file, "SELECT created = used FROM studies") == [(1,)]


def test_two_processes_never_share_a_number(file):
    """No trial is lost and none counted twice; both also open the file for the first time."""
    code = (
        "store = SqlStore(sys.argv[1]); store.add_study(STUDY)\n"
        "for seed in range(30): print(store.add_trial(STUDY.id, a_proposal(seed)).number)"
    )
    children = [child(code, str(file)) for _ in range(2)]
    given = [int(line) for process in children for line in process.communicate()[0].split()]

    assert [process.returncode for process in children] == [0, 0]
    assert sorted(given) == list(range(60))
    assert [trial.number for trial in SqlStore(str(file)).trials(STUDY.id)] == list(range(60))


@contextmanager
def a_runner(file: Path) -> "Iterator[subprocess.Popen[str]]":
    """A process that holds the study and says the number of each trial that it has finished."""
    code = (
        "store = SqlStore(sys.argv[1])\n"
        "with store.lease(STUDY.id):\n"
        "    for number in range(10**6): finished(store); print(number, flush=True)"
    )
    with child(code, str(file)) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_killed_writer_loses_nothing_that_it_had_finished(file, store):
    """What it was writing at that moment is there as a whole or not at all."""
    with a_runner(file) as runner:
        told = [int(runner.stdout.readline()) for _ in range(20)]
        runner.send_signal(signal.SIGKILL)
        told += [int(line) for line in runner.stdout.read().split()]

    trials = store.trials(STUDY.id)
    assert [trial.number for trial in trials if trial.ended][: len(told)] == told
    assert query(file, "PRAGMA integrity_check") == [("ok",)]


def test_the_study_of_a_killed_process_can_be_run_at_once(file, store):
    """While it lived, it could not."""
    with a_runner(file) as runner:
        runner.stdout.readline()
        with pytest.raises(StudyError, match=f"is being run by process {runner.pid}"):
            store.lease(STUDY.id).__enter__()
        runner.send_signal(signal.SIGKILL)

    with store.lease(STUDY.id) as lease:
        lease.renew()
