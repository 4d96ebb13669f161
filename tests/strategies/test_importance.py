"""What the scores of a study vary with."""

import importlib.util
from dataclasses import replace

import pytest

from autopeft.strategies.importance import FEWEST, importance_of
from tests.report.studies import NAN, many

pytest.importorskip("sklearn", reason="scikit-learn is not installed")


@pytest.mark.slow
def test_the_slot_that_decides_stands_out_and_chance_does_not():
    """All of the score but a little noise is what is trained at the query."""
    study, trials = many(80)
    found = importance_of(study, trials)

    assert (found.trials, found.at, found.problem) == (80, 0.5, "")
    assert found.shares[0].name == "lora@attention.query"
    assert found.shares[0].share.low > found.chance.high
    assert {share.kind for share in found.shares} == {"slot", "blocks", "recipe"}
    assert [s.share.mean for s in found.shares] == sorted(
        (s.share.mean for s in found.shares), reverse=True
    )
    assert importance_of(study, trials) == found


@pytest.mark.slow
def test_scores_that_do_not_vary_leave_everything_at_zero():
    study, trials = many(30)
    level = tuple(
        replace(t, rungs=(), measurement=replace(t.measurement, score=0.5, share=0.5))
        for t in trials
    )
    found = importance_of(study, level)

    assert {share.share.mean for share in found.shares} == {0.0}


def test_few_trials_tell_nothing():
    study, trials = many(FEWEST + 5)
    broken = tuple(
        replace(t, rungs=(), measurement=replace(t.measurement, score=NAN)) if t.number < 6 else t
        for t in trials
    )
    found = importance_of(study, broken)

    assert (found.trials, found.shares) == (FEWEST - 1, ())
    assert "19 trials have a score at 50% of a training, and fewer than 20" in found.problem
    assert "0 trials have a score" in importance_of(study, ()).problem


def test_nothing_that_was_varied_is_said():
    study, trials = many(FEWEST)
    same = tuple(replace(t, proposal=trials[0].proposal) for t in trials)

    assert importance_of(study, same).problem == "Nothing was varied."


def test_without_scikit_learn_it_is_said_what_to_install(monkeypatch):
    study, trials = many(FEWEST)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    assert "`pip install autopeft[report]`" in importance_of(study, trials).problem
