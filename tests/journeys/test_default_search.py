"""The default strategy, from the command to the report: supernet, probes, rungs, trust."""

import json
import signal
import subprocess

import pytest

from tests.journeys.commands import MODEL, autopeft, command, environment, sample
from tests.models import opinions, save_tiny, write_rows

STORE = ("--store", "sqlite:///store.db", "--out", "out")


def words(*more):
    return (
        "search", "--model", "./model", "--data", "data.csv", "--space", "lora", "--budget", "20%",
        "--epochs", "3", "--batch-size", "4", "--trials", "13", "--finals", "2", "--threads", "1",
        "--precision", "fp32", "--option", "evaluations=20", *STORE, *more,
    )  # fmt: skip


def prepared(folder):
    save_tiny(folder / "model")
    write_rows(folder / "data.csv", opinions(120))
    return folder


def supernets(folder):
    return sorted((folder / "cache" / "autopeft" / "supernets").iterdir())


@pytest.fixture(scope="module")
def journey(tmp_path_factory):
    folder = prepared(tmp_path_factory.mktemp("default"))
    return folder, autopeft(*words("--json"), cwd=folder)


@pytest.fixture(scope="module")
def document(journey):
    _, done = journey
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_supernet_is_prepared_after_the_baselines_and_trials_stop_and_go_on(journey):
    _, done = journey
    events = ["trial   3 begins", "preparing the supernet", "trial   4 begins"]

    assert sorted(events, key=done.stderr.index) == events
    assert "paused at 33%" in done.stderr
    assert "goes on to 100%" in done.stderr


def test_probes_carry_the_scores_that_they_inherited(document):
    searched = [t for t in document["trials"] if t["proposal"]["purpose"] == "search"]
    probes = [t for t in searched if t["proposal"]["label"] == "probe"]

    inherited = [t["proposal"]["inherited"] for t in probes]
    assert len(probes) == 6
    assert inherited == sorted(inherited, reverse=True)


def test_the_answer_says_how_far_inherited_scores_can_be_trusted(journey, document):
    folder, _ = journey
    ranking = document["answer"]["ranking"]

    assert ranking["pairs"] == 6
    assert -1 <= ranking["tau"]["low"] <= ranking["tau"]["mean"] <= ranking["tau"]["high"] <= 1
    report = (folder / "out" / "report.md").read_text()
    assert "Kendall's tau" in report
    assert "hypervolume" in report


def test_finalists_were_trained_to_the_end_with_fresh_seeds(document):
    finals = [t for t in document["trials"] if t["proposal"]["purpose"] == "final"]

    assert {t["proposal"]["seed"] for t in finals} == {1, 2}
    assert all(t["measurement"]["share"] == 1.0 for t in finals)
    assert document["answer"]["verdict"] in {"better", "worse", "no difference beyond noise"}


def test_no_state_of_a_paused_trial_that_went_on_to_the_end_is_left(journey, document):
    folder, _ = journey
    paused = {t["number"] for t in document["trials"] if t["state"] == "paused"}
    kept = {int(file.stem.split("-")[1]) for file in (folder / "out" / "paused").iterdir()}

    assert kept == paused


def test_the_same_command_trains_neither_supernet_nor_trials_again(journey, document):
    folder, _ = journey
    again = autopeft(*words("--json"), cwd=folder)

    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["trials"] == document["trials"]
    assert "begins" not in again.stderr
    assert len(supernets(folder)) == 1


@pytest.mark.slow
def test_another_study_of_the_same_kind_finds_the_supernet(journey):
    folder, _ = journey
    weights = supernets(folder)[0] / "weights.safetensors"
    before = weights.stat().st_mtime_ns

    done = autopeft(*words("--strategy", "evolution", "--trials", "4", "--finals", "0",
                           "--out", "other"), cwd=folder)  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert len(supernets(folder)) == 1
    assert weights.stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_damaged_supernet_is_refused(tmp_path):
    folder = prepared(tmp_path)
    assert autopeft(*words("--trials", "6", "--finals", "0"), cwd=folder).returncode == 0
    weights = supernets(folder)[0] / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])

    done = autopeft(*words("--trials", "8", "--finals", "0", "--seed", "0"), cwd=folder)

    assert done.returncode == 2
    assert "weights.safetensors" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_search_that_is_killed_while_the_supernet_trains_ends_equal(tmp_path, document):
    folder = prepared(tmp_path)
    with subprocess.Popen(
        command(*words()), cwd=folder, env=environment(folder), stderr=subprocess.PIPE, text=True
    ) as running:
        for line in running.stderr:
            if line.startswith("preparing the supernet:"):
                running.send_signal(signal.SIGKILL)
                break

    done = autopeft(*words("--json"), cwd=folder)

    def scores(trials):
        return [(t["proposal"]["inherited"], t["measurement"]["score"]) for t in trials]

    assert done.returncode == 0, done.stderr
    assert scores(json.loads(done.stdout)["trials"]) == scores(document["trials"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "more"),
    [
        ("autopeft", ("--option", "evaluations=20")),
        ("evolution", ("--option", "evaluations=20")),
        ("tpe", ()),
        ("gp", ()),
        ("saasbo", ("--option", "init=4", "--option", "warmup=16", "--option", "samples=16")),
        ("nsga2", ("--objective", "score,params")),
        ("s4", ()),
        ("s3pet", ("--space", "s3pet")),
        ("bipeft", ("--space", "bipeft-s1")),
        ("random", ()),
    ],
)
def test_every_strategy_searches_on_a_real_model_and_real_data(tmp_path, strategy, more):
    data = sample(tmp_path, 240)
    done = autopeft(
        "search", "--model", MODEL, "--data", str(data), "--budget", "0.5%", "--epochs", "2",
        "--threads", "1", "--strategy", strategy, "--trials", "9", "--finals", "1", "--rungs",
        "1/3", *STORE, *more, "--json", cwd=tmp_path, timeout=900,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    searched = [t for t in found["trials"] if t["proposal"]["purpose"] == "search"]
    assert found["answer"]["trials"] >= 9
    assert searched
    assert all(t["state"] in {"paused", "complete"} for t in found["trials"])
