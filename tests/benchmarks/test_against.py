"""The race against other ways to search: what is watched, and what is read from where."""

import sys
from argparse import ArgumentTypeError
from dataclasses import replace
from types import SimpleNamespace

import pytest

from autopeft.storage.sql import SqlStore
from autopeft.trial import Fidelity, Proposal, Purpose, Trial
from autopeft.wiring.strategies import STRATEGIES
from tests.contracts.store import Surroundings, a_measurement, a_proposal, a_study

# imported by name, like the scripts do: see conftest.py
from against import (  # isort: skip
    SEARCHES, Rules, Watched, ended_in, runs_in, seconds_of, traced, turned, watched,
)  # fmt: skip
from races import Point  # isort: skip

BEGAN = 1_700_000_000.0
SEEN = Watched(began=BEGAN, seconds=100.0, clock=(0, 100), cpu=(0, 150), printed="")


@pytest.fixture
def kept(tmp_path):
    """A store in which moments can be chosen, and its file."""
    surroundings, study = Surroundings(), a_study()
    file = tmp_path / "store.db"
    store = SqlStore(f"sqlite:///{file}", clock=surroundings.clock)
    store.add_study(study)
    yield SimpleNamespace(file=file, store=store, study=study.id, surroundings=surroundings)
    store.close()


def ended(kept, proposal: Proposal, seconds: float, score: float | None) -> Trial:
    kept.surroundings.seconds = BEGAN + seconds
    trial = kept.store.start(kept.study, kept.store.add_trial(kept.study, proposal))
    done = trial.failed("why") if score is None else trial.done(a_measurement(score))
    kept.store.finish(kept.study, done)
    return done


def test_only_whole_trainings_count_and_when_they_ended(kept):
    """Baselines are trials like others; what failed, was paused or is a final is no point."""
    ended(kept, replace(a_proposal(0), purpose=Purpose.BASELINE), 10, 0.7)
    ended(kept, a_proposal(1), 20, None)
    ended(kept, replace(a_proposal(2), fidelity=Fidelity(share=1 / 3)), 30, 0.9)
    ended(kept, replace(a_proposal(3), purpose=Purpose.FINAL), 40, 0.9)
    kept.store.add_trial(kept.study, a_proposal(4))

    points, stopped = ended_in(kept.file, SEEN)

    assert points == (Point(seconds=10.0, cpu=15.0, score=0.7),)
    assert stopped == 2


def test_a_promoted_trial_counts_when_its_training_came_to_its_end(kept):
    """Not when it was paused, although it is one trial."""
    paused = ended(kept, replace(a_proposal(0), fidelity=Fidelity(share=1 / 3)), 10, 0.6)
    ended(kept, a_proposal(1), 20, 0.7)
    promoted = kept.store.start(kept.study, kept.store.promote(kept.study, paused, 1.0))
    kept.surroundings.seconds = BEGAN + 50
    kept.store.finish(kept.study, promoted.done(a_measurement(0.8)))

    points, stopped = ended_in(kept.file, SEEN)

    assert [(point.seconds, point.score) for point in points] == [(20.0, 0.7), (50.0, 0.8)]
    assert stopped == 0


def test_the_scripts_lines_are_read_and_pruned_trials_are_counted_apart():
    printed = "\n".join((
        '{"seconds": 40.0, "score": 0.7, "best": 0.7, "state": "complete", "parameters": {}}',
        '{"seconds": 50.0, "score": null, "best": 0.7, "state": "pruned", "parameters": {}}',
        '{"validation": 0.71, "test": 0.69}',
    ))  # fmt: skip
    run = traced(replace(SEEN, printed=printed), "reviews", 3)

    assert run.points == (Point(seconds=40.0, cpu=60.0, score=0.7),)
    assert (run.stopped, run.seconds, run.cpu) == (1, 50.0, 75.0)
    assert (run.test, run.again) == (0.69, 0.71)


def test_a_process_is_watched_in_its_own_folder_without_the_users_settings(tmp_path, monkeypatch):
    """Its cache is its own and empty, and what it used of the processors is known."""
    monkeypatch.setenv("AUTOPEFT_STRATEGY", "random")
    code = (
        "import os, time\n"
        "while time.process_time() < 0.6: pass\n"
        "print(os.getcwd(), os.environ['AUTOPEFT_CACHE'], os.environ.get('AUTOPEFT_STRATEGY'))"
    )
    seen = watched([sys.executable, "-c", code], tmp_path)

    assert seen.printed.split() == [str(tmp_path), str(tmp_path / "cache"), "None"]
    assert seen.seconds >= 0.6
    assert 0 < seen.cpu_at(seen.seconds) < 5


def test_a_process_that_fails_ends_the_race_and_says_where_to_look(tmp_path):
    with pytest.raises(SystemExit, match=r"ended with 3: see .*stderr"):
        watched([sys.executable, "-c", "raise SystemExit(3)"], tmp_path)


def test_each_is_first_in_turn():
    assert [turned("abc", turn) for turn in range(4)] == [
        ["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"],
    ]  # fmt: skip


def test_one_may_be_given_less_time_than_the_others():
    rules = Rules(seconds=seconds_of("900,autopeft=300"), trials=1, threads=1)

    assert (rules.time_of("tpe"), rules.time_of("autopeft")) == (900.0, 300.0)
    assert seconds_of("900") == {"": 900.0}
    with pytest.raises(ArgumentTypeError, match="write 900,autopeft=300"):
        seconds_of("autopeft=300")


def test_a_folder_without_runs_holds_none(tmp_path):
    assert runs_in(tmp_path / "nothing") == []


def test_searches_are_named_that_can_be_run():
    """The strategies are those of the command line; without options it takes the default."""
    assert SEARCHES["autopeft"] == []
    assert {options[1] for options in SEARCHES.values() if options} <= set(STRATEGIES)
