"""A team's service: upload, submit, watch, kill the worker, pause, resume, fetch the plan, train.

What comes of it is what an uninterrupted search of the same settings finds on the command line.
"""

import json
import os
import signal

import pytest
from typer.testing import CliRunner

from autopeft.cli.app import app
from autopeft.client import Client
from tests.journeys.commands import MODEL, autopeft, environment, sample
from tests.journeys.services import served, until
from tests.models import opinions, save_tiny, write_rows

TINY = ("--space", "lora", "--budget", "20%", "--strategy", "random", "--epochs", "25",
        "--precision", "fp32", "--trials", "12", "--finals", "1", "--threads", "1")  # fmt: skip
REAL = ("--budget", "1%", "--strategy", "tpe", "--epochs", "1", "--trials", "8", "--finals", "1",
        "--threads", "1", "--warm-start", "none")  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Run a command without a service: in this process, which has torch already."""
    monkeypatch.chdir(tmp_path)
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)

    def run(*words):
        done = CliRunner().invoke(app, words, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


@pytest.mark.parametrize(
    "model", ["tiny", pytest.param(MODEL, marks=pytest.mark.slow)], ids=["tiny", "real"]
)
def test_a_search_survives_its_worker_and_gives_the_plan_of_an_uninterrupted_one(
    model, tmp_path, here
):
    if model == "tiny":
        save_tiny(tmp_path / "tiny")
        data = write_rows(tmp_path / "sample.csv", opinions(150)).train
    else:
        data = str(sample(tmp_path))
    words = ("--model", model, "--data", data, *(TINY if model == "tiny" else REAL))

    with served(tmp_path, "--models", ".") as service, Client(service.url) as client:
        run = Commands(tmp_path, service.url)
        search = run("submit", *words).strip()
        if model == "tiny":  # whose trials are over before a worker sees that it is to pause
            assert run("pause", search) == f"{search} is paused\n"
            states = ("validating", "queued")  # it may have been found valid before the pause
            assert run("resume", search) in [f"{search} is {state}\n" for state in states]
        events = client.searches.events(search)
        told = until_trial(2, "complete", events)
        (worker,) = service.workers("--only", "runs")
        os.kill(worker, signal.SIGKILL)
        if model == MODEL:
            told += until_trial(4, "running", events)
            assert run("pause", search) == f"{search} is pausing\n"
            until(lambda: client.searches.get(search).state == "paused", 60)
            assert run("resume", search) == f"{search} is queued\n"
        told += list(events)
        shown = run("logs", search).splitlines()
        run("fetch", search, "--out", "fetched")

    assert client_saw_each_once(told, shown)
    assert service.log.read_text().count("Traceback") == 0
    assert sum("lost" in event.message for event in told) == 1

    here("search", *words, "--store", "sqlite:///alone.db", "--out", "alone")
    assert plan(tmp_path / "fetched") == plan(tmp_path / "alone")
    trained = here("train", "fetched/plan.json", "--model", model, "--data", data, "--threads", "1",
                   "--out", "trained", "--json")  # fmt: skip
    outcome = json.loads(trained)
    assert outcome["validation"] == pytest.approx(outcome["promised"])


class Commands:
    """Runs commands against a service."""

    def __init__(self, folder, url):
        self._folder = folder
        self._url = url

    def __call__(self, *words):
        done = autopeft(*words, "--url", self._url, cwd=self._folder)
        assert done.returncode == 0, done.stderr
        return done.stdout


def until_trial(number, state, events):
    """Read events until a trial, or a later one, is in a state."""
    told = []
    for event in events:
        told.append(event)
        trial = event.data if event.kind == "trial" else {"number": -1}
        if trial["number"] >= number and trial["state"] == state:
            return told
    raise AssertionError(f"trial {number} was never {state}: {[each.message for each in told]}")


def client_saw_each_once(told, shown):
    """Whether one stream has told everything once, in order, and the log shows the same."""
    assert [event.id for event in told] == list(range(1, len(told) + 1))
    return len(shown) == len(told)


def plan(folder):
    """Return a plan without what two searches of the same do not share: places and times."""
    document = json.loads((folder / "plan.json").read_text())
    del document["where"], document["digest"]
    for name in ("study", "created"):
        del document["provenance"][name]
    return document
