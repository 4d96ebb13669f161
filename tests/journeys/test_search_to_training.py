"""A newcomer's whole way: look, estimate, search, read, export, train."""

import json
import signal
import subprocess

import pytest

from tests.journeys.commands import (
    MODEL,
    autopeft,
    command,
    environment,
    sample,
    search_words,
)


@pytest.fixture(scope="module")
def journey(tmp_path_factory):
    """Run one small search and keep its folder and its output."""
    folder = tmp_path_factory.mktemp("journey")
    data = sample(folder)
    words = search_words(data, "--trials", "5", "--finals", "1", "--out", "out")
    return folder, data, words, autopeft(*words, cwd=folder)


def test_a_search_ends_with_a_table_a_sentence_and_two_paths(journey):
    """The answer names a configuration with its interval; progress went to standard error."""
    folder, _, _, done = journey

    assert done.returncode == 0, done.stderr
    assert "95% interval" in done.stdout
    assert "plain LoRA" in done.stdout
    assert (folder / "out/plan.json").is_file()
    assert (folder / "out/report.md").is_file()
    assert "out/plan.json" in done.stdout
    assert "trial   0 begins" in done.stderr
    assert done.stderr.count("accuracy") == 1 + 7  # the headline, five trials and two finals


def test_the_same_command_measures_nothing_twice(journey):
    """A second run tells the same story from the store alone."""
    folder, _, words, first = journey
    again = autopeft(*words, cwd=folder)

    assert again.returncode == 0
    assert "7 trials are known from an earlier run" in again.stderr
    assert "begins" not in again.stderr
    assert again.stdout == first.stdout


def test_no_trial_trains_more_than_the_budget_allows(journey):
    """Every count lies under the ceiling, and what was trained is what was counted."""
    folder, *_ = journey
    listed = autopeft("trials", "latest", "--store", "sqlite:///store.db", "--json", cwd=folder)
    shown = autopeft("show", "latest", "--store", "sqlite:///store.db", "--json", cwd=folder)
    slots = json.loads(shown.stdout)["space"]["slots"]

    for trial in json.loads(listed.stdout):
        counted = sum(
            slot["unit"] * size + slot["fixed"]
            for row in trial["proposal"]["configuration"]["sizes"]
            for slot, size in zip(slots, row, strict=True)
            if size
        )
        assert trial["measurement"]["parameters"] == counted <= 227_132


def test_training_the_plan_gives_the_trial_again_and_a_test_score(journey):
    """Same seed, same data, same threads: the validation score is reproduced exactly."""
    folder, data, *_ = journey
    words = ("train", "out/plan.json", "--data", data, "--threads", "1", "--out", "trained")
    done = autopeft(*words, "--json", cwd=folder)
    outcome = json.loads(done.stdout)

    assert done.returncode == 0, done.stderr
    assert outcome["same_data"]
    assert outcome["validation"] == outcome["promised"]
    assert outcome["test"]["low"] <= outcome["test"]["mean"] <= outcome["test"]["high"]
    assert (folder / "trained/adapter.safetensors").is_file()


def test_export_writes_the_plan_again(journey):
    """The store alone is enough to have plan and report back."""
    folder, *_ = journey
    done = autopeft(
        "export", "latest", "--store", "sqlite:///store.db", "--out", "again", cwd=folder
    )

    assert done.returncode == 0, done.stderr
    assert (folder / "again/plan.json").read_text() == (folder / "out/plan.json").read_text()
    assert (folder / "again/report.md").read_text() == (folder / "out/report.md").read_text()


def test_weights_of_a_study_are_not_there_to_export(journey):
    """What to do instead is said."""
    folder, *_ = journey
    done = autopeft(
        "export", "latest", "--store", "sqlite:///store.db", "--format", "merged", "--out", "none",
        cwd=folder,
    )  # fmt: skip

    assert done.returncode == 2
    assert "a study keeps no weights: write its plan (autopeft export latest)" in done.stderr
    assert not (folder / "none").exists()


def test_more_trials_extend_the_study(journey):
    """A larger number goes on where the smaller one ended, in the same study."""
    folder, data, *_ = journey
    more = search_words(data, "--trials", "6", "--finals", "1", "--out", "more", "--json")
    done = autopeft(*more, cwd=folder)
    document = json.loads(done.stdout)

    assert done.returncode == 0, done.stderr
    assert "known from an earlier run" in done.stderr
    searched = [t for t in document["trials"] if t["proposal"]["purpose"] != "final"]
    assert len(searched) == 6


def test_studies_lists_what_was_searched(journey):
    """The list names model, budget and best score."""
    folder, *_ = journey
    done = autopeft("studies", "--store", "sqlite:///store.db", "--json", cwd=folder)
    (study,) = json.loads(done.stdout)

    assert study["model"] == MODEL
    assert study["answered"]
    assert 0.5 < study["best"] <= 1.0


def test_estimate_tells_ceiling_space_time_and_memory_without_training(journey):
    """The same options give the study's own id and no trial."""
    folder, _, words, _ = journey
    listed = autopeft("studies", "--store", "sqlite:///store.db", "--json", cwd=folder)
    done = autopeft("estimate", *words[1:], "--json", cwd=folder)
    document = json.loads(done.stdout)

    assert done.returncode == 0, done.stderr
    assert document["study"] == json.loads(listed.stdout)[0]["study"]
    assert document["ceiling"] == 227_132
    assert document["trainings"] == 7
    assert document["seconds_per_trial"] > 0
    assert document["memory_bytes"] > 4 * 22_713_216


@pytest.mark.slow
def test_estimate_shares_time_among_workers_and_ends_at_the_limit(journey):
    """What is expected is the smaller of the limit and the work, which the workers share."""
    folder, _, words, _ = journey
    more = ("--executor", "ray", "--workers", "2", "--time", "1s")
    done = autopeft("estimate", *words[1:], *more, "--json", cwd=folder)
    document = json.loads(done.stdout)

    assert done.returncode == 0, done.stderr
    shared = 7 * document["seconds_per_trial"] / 2
    assert document["seconds_without_limit"] == pytest.approx(shared, abs=0.3)  # both are rounded
    assert document["seconds"] == min(1.0, document["seconds_without_limit"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "said"),
    [("0.01s", "the limit of time: it ends before"), ("9h", "the limit of 540.0 min leaves room")],
)
def test_estimate_says_whether_the_limit_of_time_is_reached(journey, tmp_path, limit, said):
    """The limit may as well be a setting."""
    (tmp_path / "autopeft.toml").write_text(f'time = "{limit}"')
    _, _, words, _ = journey
    done = autopeft("estimate", *words[1:], cwd=tmp_path)

    assert said in " ".join(done.stdout.split())
    assert [file.name for file in tmp_path.iterdir()] == ["autopeft.toml"]


def test_an_interrupted_training_keeps_nothing(journey):
    """It says so and leaves no folder behind."""
    folder, *_ = journey
    words = command("train", "out/plan.json", "--out", "stopped")
    with subprocess.Popen(
        words, cwd=folder, env=environment(folder), stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        assert running.stderr.readline().startswith("training ")
        running.send_signal(signal.SIGINT)
        said = running.stderr.read()

    assert running.returncode == 130, said
    assert said.endswith("interrupted: nothing of this training is kept\n")
    assert not (folder / "stopped").exists()


@pytest.mark.parametrize("what", ["spaces", "methods", "doctor", "schema"])
def test_what_there_is_can_be_listed_as_json(what, tmp_path):
    """Each list is one JSON document on standard output."""
    words = (what,) if what == "schema" else (what, "--json")
    done = autopeft(*words, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
