"""How a worker process learns that it is to stop."""

import os
import signal
import subprocess
import sys

import pytest

from autopeft.service.job import Lane
from autopeft.settings import ServiceSettings
from autopeft.worker.__main__ import main
from autopeft.worker.stopping import Stopping
from autopeft.worker.supervisor import command_of, environment_of

TIED = """
import sys
from autopeft.worker.stopping import Stopping
stopping = Stopping()
stopping.with_parent({grace})
sys.stdout.write("ready\\n")
sys.stdout.flush()
while not {condition}:
    pass
"""


def tied(grace, condition):
    """Run a process that is tied to this one; return it when it is ready."""
    code = TIED.format(grace=grace, condition=condition)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    return process


def test_it_is_asked_for_once_and_for_good():
    stopping = Stopping()
    before = stopping()
    stopping.ask()

    assert (before, stopping()) == (False, True)


def test_a_signal_asks_for_it():
    before = signal.getsignal(signal.SIGUSR1)
    stopping = Stopping()
    stopping.on_signals(signal.SIGUSR1)
    try:
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert stopping()


def test_a_process_stops_when_its_parent_is_gone():
    process = tied(60, "stopping()")
    process.stdin.close()

    assert process.wait(30) == 0


def test_a_process_that_does_not_stop_is_killed():
    process = tied(0.01, "False")
    process.stdin.close()

    assert process.wait(30) == -signal.SIGKILL


def test_a_lane_is_told_all_settings_and_nothing_that_others_may_read(monkeypatch):
    """Command lines can be read by every user of a machine, and a store's may hold a password."""
    monkeypatch.setenv("AUTOPEFT_KEY", "secret")
    monkeypatch.setenv("AUTOPEFT_SERVICE__IDLE", "5")
    settings = ServiceSettings(idle=7.0, models=("models",))
    url = "postgresql+psycopg://me:secret@host/db"

    environment = environment_of(url, settings)

    assert ServiceSettings.model_validate_json(environment["AUTOPEFT_SERVICE"]) == settings
    assert environment["AUTOPEFT_STORE"] == url
    assert not {"AUTOPEFT_KEY", "AUTOPEFT_SERVICE__IDLE"} & set(environment)
    assert environment["PATH"] == os.environ["PATH"]
    assert "secret" not in " ".join(command_of(Lane.RUNS, "name"))


def test_a_store_that_cannot_be_opened_is_said_plainly(capsys):
    assert main(["--store", "mysql://host/db"]) == 1
    assert "error: there is no store of the kind 'mysql'" in capsys.readouterr().err


def test_a_lane_without_a_store_ends_so_that_it_is_started_again(tmp_path):
    url = f"sqlite:///{tmp_path}"  # a folder is no store

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    try:
        code = main(["--only", "runs", "--store", url])
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])

    assert code == 75


@pytest.mark.parametrize("words", [["--lane", "none"], ["--only", "none"]])
def test_there_are_two_lanes(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "choose from" in capsys.readouterr().err
