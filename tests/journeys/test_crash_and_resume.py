"""A search that is killed at any moment goes on where it was."""

import json
import re
import signal
import subprocess

import pytest

from tests.journeys.commands import autopeft, command, environment, sample, search_words

TRIALS = ("--trials", "8", "--finals", "1", "--out", "out")


def run_until(words, folder, line, how):
    """Start a search, and send it a signal as soon as a line of its progress begins like this."""
    process = subprocess.Popen(
        command(*words), cwd=folder, env=environment(folder), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    seen = []
    for text in process.stderr:
        seen.append(text)
        if text.startswith(line):
            process.send_signal(how)
            break
    rest = process.communicate(timeout=60)[1]
    return process.returncode, "".join(seen) + rest


def measured(folder):
    """Return what the store holds of every trial, times apart."""
    done = autopeft("trials", "latest", "--store", "sqlite:///store.db", "--json", cwd=folder)
    trials = json.loads(done.stdout)
    for trial in trials:
        if trial["measurement"]:
            del trial["measurement"]["seconds"]
        del trial["attempts"]
    return trials


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The same search, run to its end in one go."""
    folder = tmp_path_factory.mktemp("whole")
    done = autopeft(*search_words(sample(folder), *TRIALS), cwd=folder)
    assert done.returncode == 0, done.stderr
    return measured(folder)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("trial   0 begins", marks=pytest.mark.slow),
        pytest.param("trial   1 accuracy", marks=pytest.mark.slow),
        pytest.param("trial   7 begins", marks=pytest.mark.slow),
        "trial   9 begins",
    ],
)
def test_kill_9_loses_nothing_that_was_measured(line, tmp_path, uninterrupted):
    """Killed in a trial, between two, or in the finals: the end is that of an uninterrupted run."""
    words = search_words(sample(tmp_path), *TRIALS)
    code, _ = run_until(words, tmp_path, line, signal.SIGKILL)
    before = [trial for trial in measured(tmp_path) if trial["state"] == "complete"]
    done = autopeft(*words, cwd=tmp_path)

    assert code == -signal.SIGKILL
    assert done.returncode == 0, done.stderr
    assert measured(tmp_path) == uninterrupted
    assert before == uninterrupted[: len(before)]
    assert done.stderr.count("begins") == len(uninterrupted) - len(before)


def test_control_c_says_how_to_go_on(tmp_path, uninterrupted):
    """An interrupt ends with 130 and a hint, and the same command finishes the study."""
    words = search_words(sample(tmp_path), *TRIALS)
    code, shown = run_until(words, tmp_path, "trial   2 begins", signal.SIGINT)
    done = autopeft(*words, cwd=tmp_path)

    assert code == 130
    assert "2 trials are kept; the same command goes on from there" in shown
    assert done.returncode == 0, done.stderr
    assert measured(tmp_path) == uninterrupted


@pytest.mark.slow
def test_control_c_loses_no_step_of_the_supernet(tmp_path):
    """The next run begins where this one was stopped, though a supernet takes seconds here."""
    words = search_words(sample(tmp_path, 600), "--strategy", "evolution", *TRIALS)
    told = [run_until(words, tmp_path, "preparing the supernet: ", signal.SIGINT) for _ in range(2)]
    first, second = (int(re.findall(r"supernet: (\d+)%", shown)[0]) for _, shown in told)

    assert [code for code, _ in told] == [130, 130]
    assert 0 < first < second
