"""Proposals and what becomes of them."""

import math
from dataclasses import replace

import pytest

from autopeft.trial import Fidelity, Purpose, State, Trial
from tests.builders import a_measurement, a_proposal

WAITING = Trial(number=0, proposal=a_proposal())


def test_a_trial_goes_from_waiting_over_running_to_complete():
    running = WAITING.started().running(0.4)
    done = running.done(a_measurement(0.8))

    assert [t.state for t in (WAITING, running, done)] == [
        State.WAITING, State.RUNNING, State.COMPLETE,
    ]  # fmt: skip
    assert [t.progress for t in (WAITING, running, done)] == [0.0, 0.4, 1.0]
    assert [t.ended for t in (WAITING, running, done)] == [False, False, True]
    assert done.score == 0.8


def test_a_trial_that_fails_or_runs_out_of_memory_has_ended_with_a_reason_and_no_score():
    failed = WAITING.started().failed("ValueError: shapes differ")
    short = WAITING.started().out_of_memory("MemoryError")

    assert (failed.state, failed.failure) == (State.FAILED, "ValueError: shapes differ")
    assert (short.state, short.failure) == (State.OOM, "MemoryError")
    assert failed.ended
    assert short.ended
    assert failed.score == short.score == WAITING.score == -math.inf


def test_every_start_is_counted_and_begins_anew():
    again = WAITING.started().running(0.9).started()

    assert (again.attempts, again.progress, again.state) == (2, 0.0, State.RUNNING)


def test_the_same_table_and_rates_are_the_same_work_whatever_seed_and_purpose():
    proposal = a_proposal(4, 2)

    assert proposal.key == replace(proposal, seed=9, purpose=Purpose.FINAL, of=0, label="x").key
    assert proposal.key != a_proposal(2, 4).key
    assert proposal.key != a_proposal(4, 2, rate=2e-3).key


def test_the_order_in_which_rates_were_written_makes_no_difference_to_the_work():
    rates = {"lora": 1e-3, "prefix": 1e-2}
    keys = {
        replace(p, recipe=replace(p.recipe, learning_rates=dict(items))).key
        for p in [a_proposal()]
        for items in (rates.items(), reversed(rates.items()))
    }

    assert len(keys) == 1


def at_rung(share: float) -> Trial:
    return replace(WAITING, proposal=replace(WAITING.proposal, fidelity=Fidelity(share=share)))


def test_a_trial_that_was_not_trained_to_its_end_pauses_and_can_be_promoted():
    paused = at_rung(0.25).started().done(a_measurement(0.7, predictions=(1, 0)))
    promoted = paused.promoted(1.0)
    done = promoted.started().done(a_measurement(0.8))

    assert [t.state for t in (paused, promoted, done)] == [
        State.PAUSED, State.WAITING, State.COMPLETE,
    ]  # fmt: skip
    assert [t.ended for t in (paused, promoted, done)] == [True, False, True]
    assert [t.complete for t in (paused, promoted, done)] == [False, False, True]
    assert [found.score for found in (*done.rungs, done.measurement)] == [0.7, 0.8]
    assert [found.share for found in (*done.rungs, done.measurement)] == [0.25, 1.0]
    assert (done.at(0.25).score, done.at(1.0).score, done.at(0.5)) == (0.7, 0.8, None)
    assert done.rungs[0].predictions == b""


def test_while_it_is_trained_further_the_latest_measurement_counts():
    promoted = at_rung(0.25).started().done(a_measurement(0.7)).promoted(1.0)

    assert promoted.started().latest.score == 0.7
    assert promoted.started().measurement is None
    assert promoted.started().failed("diverged").latest is None
    assert WAITING.latest is None


@pytest.mark.parametrize("trial", [WAITING, WAITING.started().done(a_measurement())])
def test_only_a_paused_trial_can_be_promoted(trial):
    with pytest.raises(ValueError, match="only a paused one goes on"):
        trial.promoted(1.0)
