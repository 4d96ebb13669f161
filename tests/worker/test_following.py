"""What is told of trials, and what is estimated from them."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from autopeft.service.event import Event, Happening
from autopeft.study import Limits
from autopeft.trial import Fidelity, Purpose, Trial
from autopeft.worker.following import Following
from autopeft.worker.heartbeat import Heartbeat
from autopeft.worker.work import Work
from tests.builders import a_measurement, a_proposal, a_study, a_trial
from tests.worker.test_work import JOB, Claimed, Clock

STUDY = a_study(finals=1)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def claim():
    return Claimed()


@pytest.fixture
def work(claim, clock):
    return Work(claim, Heartbeat(claim, lambda: False, every=0.0), clock=clock)


def following(work, study=STUDY, **limits):
    return Following(work, study, Limits(**({"trials": 4} | limits)))


def told(work, claim):
    """Write what is left to be told, and return all messages."""
    work.end(lambda job: job)
    return [message for messages in claim.written for message in messages]


def begun(number, **changes):
    return Trial(number=number, proposal=a_proposal(**changes)).started()


def test_nothing_is_said_of_what_is_still_to_come_until_there_is_reason_to(work, clock):
    follower = following(work)
    follower.known((), ())
    follower.saw(begun(0))
    before = work.progress.remaining
    clock.now += 10
    follower.saw(a_trial(0, 0.5))
    one = work.progress.remaining
    clock.now += 10
    follower.saw(a_trial(1, 0.6))

    assert (before, one) == (None, None)
    assert work.progress.remaining == 40.0  # two trials and two finals at 10 s each
    assert (work.progress.trials, work.progress.of, work.progress.best) == (2, 6, 0.6)


def test_a_limit_of_time_bounds_what_is_to_come(work, clock):
    follower = following(work, seconds=25.0)
    follower.saw(begun(0))
    for number in (0, 1):
        clock.now += 10
        follower.saw(a_trial(number, 0.5))

    assert work.progress.remaining == 5.0


def test_a_limit_of_time_counts_from_when_it_was_set(work, clock):
    """As after an outage: what was spent before is no longer in it."""
    clock.now += 100
    follower = following(work, seconds=25.0)
    follower.saw(begun(0))
    for number in (0, 1):
        clock.now += 10
        follower.saw(a_trial(number, 0.5))

    assert work.progress.remaining == 5.0


def test_only_what_never_was_before_gets_a_job_on(work, claim):
    """The begin of a trial does not, nor its failure: it may be what ends every worker."""
    kept = Happening(kind="progress", message="", data={"phase": "supernet", "share": 0.5})
    follower = following(work)
    follower.known((), (Event(job="j", number=1, at=datetime.now(UTC), happening=kept),))

    def attempts(act):
        claim.job = replace(claim.job, attempts=2)
        act()
        work.end(lambda job: job)
        found, work._advanced = claim.job.attempts, False
        return found

    assert attempts(lambda: follower.preparing("supernet", 0.5)) == 2
    assert attempts(lambda: follower.preparing("supernet", 0.6)) == 0
    assert attempts(lambda: follower.saw(begun(0))) == 2
    assert attempts(lambda: follower.saw(begun(0).failed("lost"))) == 2
    assert attempts(lambda: follower.saw(a_trial(1, 0.5))) == 0


def test_a_run_that_goes_on_goes_by_its_own_pace(work):
    follower = following(work)
    follower.known((a_trial(0, 0.5), a_trial(1, 0.6)), ())

    assert (work.progress.trials, work.progress.remaining) == (2, None)


def test_finals_are_a_phase_of_their_own(work):
    follower = following(work)
    follower.known(tuple(a_trial(number, 0.5) for number in range(4)), ())
    final = begun(4, purpose=Purpose.FINAL, of=0, seed=1)
    follower.saw(final)
    follower.saw(final.running(0.5))

    assert (work.progress.phase, work.progress.share) == ("finals", 0.25)


def test_a_trial_that_pauses_and_goes_on_is_told_so(work, claim):
    study = a_study(rungs=(0.5, 1.0))
    follower = following(work, study)
    first = begun(0, fidelity=Fidelity(share=0.5))
    paused = first.done(a_measurement(0.7))
    further = paused.promoted(1.0).started()
    for trial in (first, first.running(0.5), paused, further, further.done(a_measurement(0.8))):
        follower.saw(trial)

    trials = [text for text in told(work, claim) if text.startswith("trial 0")]
    assert [text.partition(":")[0] for text in trials] == [
        "trial 0 begins",
        "trial 0 paused at 50%",
        "trial 0 goes on to 100%",
        "trial 0 complete",
    ]


def test_what_the_last_run_had_no_time_to_tell_is_told(work, claim):
    first, second = a_trial(0, 0.5), a_trial(1, 0.6)
    earlier = following(work)
    earlier.saw(first)
    events = [
        Event(job=JOB.id, number=n, at=JOB.created, happening=happening)
        for n, happening in enumerate(work._happenings)
    ]
    work._happenings.clear()
    following(work).known((first, second), events)

    assert [text for text in told(work, claim) if text.startswith("trial")] == [
        "trial 1 complete: accuracy 0.6000, 1.5 s"
    ]


def test_a_score_that_is_no_number_is_none(work):
    follower = following(work)
    follower.saw(a_trial(0, math.nan))

    assert work._happenings[-1].data["score"] is None
    assert work.progress.best is None


def test_a_trial_that_failed_is_a_warning(work):
    follower = following(work)
    follower.saw(begun(0).out_of_memory("RuntimeError: out of memory"))

    happening = work._happenings[-1]
    assert (happening.level, happening.data["state"]) == ("warning", "oom")
    assert happening.message == "trial 0 oom: RuntimeError: out of memory"


def test_every_tenth_of_a_preparation_is_told(work, claim):
    follower = following(work)
    for step in range(1001):
        follower.preparing("supernet", step / 1000)

    messages = [text for text in told(work, claim) if text.startswith("supernet")]
    assert messages == [f"supernet: {tenth}0%" for tenth in range(1, 11)]


def test_scores_are_told_now_and_then(work, claim):
    follower = following(work)
    for count in range(1, 120):
        follower.scoring("supernet", count)

    messages = [text for text in told(work, claim) if text.startswith("scored")]
    assert messages == [
        f"scored {count} configurations with the supernet" for count in (10, 20, 50, 100)
    ]
    assert work.progress.phase == "scores"
