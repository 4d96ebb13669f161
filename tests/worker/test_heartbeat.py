"""Signs of life, and what they bring back."""

import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from autopeft.errors import JobError, StoreError
from autopeft.service.job import Job, JobState, Kind
from autopeft.worker.heartbeat import Heartbeat
from autopeft.worker.stops import ExtendedError, LostError, ShutdownError, SlowError, WishError

JOB = Job(
    id="search_1", kind=Kind.SEARCH, owner="local", request={"limits": {"trials": 3}},
    created=datetime.now(UTC), state=JobState.RUNNING,
)  # fmt: skip


class Claimed:
    """A claim whose beats give what a test has put there."""

    def __init__(self, *answers):
        self.job = JOB
        self._answers = iter(answers)
        self.beaten = threading.Event()

    def beat(self):
        answer = next(self._answers, self.job)
        self.beaten.set()
        if isinstance(answer, Exception):
            raise answer
        self.job = answer
        return answer


def heart(*answers, stopping=lambda: False, **changes):
    return Heartbeat(Claimed(*answers), stopping, **({"every": 0.0} | changes))


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (replace(JOB, state=JobState.PAUSING), WishError, "search search_1 is pausing"),
        (replace(JOB, state=JobState.CANCELLING), WishError, "search search_1 is cancelling"),
        (replace(JOB, request={"limits": {"trials": 4}}), ExtendedError, "has other limits"),
        (replace(JOB, state=JobState.CANCELLED), LostError, "search search_1 is cancelled"),
        (JobError("another one has it"), LostError, "another one has it"),
    ],
)
def test_what_a_sign_of_life_brings_back_stops_the_work(answer, error, words):
    with heart(answer) as beating, pytest.raises(error, match=words):
        beating.look()


def test_a_worker_that_shuts_down_stops_its_work():
    with (
        heart(stopping=lambda: True) as beating,
        pytest.raises(ShutdownError, match="the worker is shutting down"),
    ):
        beating.look()


def test_a_store_that_is_away_stops_nothing():
    with heart(StoreError("away"), StoreError("away")) as beating:
        beating.look()
        beating.look()


def test_new_limits_are_taken_once():
    other = replace(JOB, request={"limits": {"trials": 4}})
    with heart(other, other, other) as beating:
        with pytest.raises(ExtendedError, match="has other limits"):
            beating.look()
        beating.extended()

        beating.look()


def test_it_beats_in_a_thread_of_its_own():
    signed = threading.Event()
    claim = Claimed(replace(JOB, state=JobState.PAUSING))
    with Heartbeat(claim, lambda: False, every=0.001, sign=signed.set) as beating:
        assert claim.beaten.wait(5)
        assert signed.wait(5)
        with pytest.raises(WishError, match="is pausing"):
            beating.look()


def test_work_that_does_not_look_is_interrupted():
    """As by Ctrl-C, in the main thread, where that is allowed."""
    claim = Claimed(replace(JOB, state=JobState.PAUSING))
    beating = Heartbeat(claim, lambda: False, every=0.001, patience=0.01, main=True)
    with (
        beating,
        pytest.raises(KeyboardInterrupt),
        beating.interruptible(),
    ):
        threading.Event().wait(10)

    assert isinstance(beating.reason(), WishError)


def test_work_that_takes_longer_than_it_may_is_interrupted():
    with (
        Heartbeat(Claimed(), lambda: False, every=0.001, main=True) as beating,
        pytest.raises(SlowError, match=r"this takes longer than 0.01 seconds"),
        beating.interruptible(0.01),
    ):
        threading.Event().wait(10)

    assert beating.reason() is None


def test_work_within_its_time_is_not_interrupted():
    with Heartbeat(Claimed(), lambda: False, every=0.001, main=True) as beating:
        with beating.interruptible(10):
            pass
        with beating.interruptible():
            threading.Event().wait(0.02)


def test_a_wish_is_no_lack_of_time():
    claim = Claimed(replace(JOB, state=JobState.PAUSING))
    with (
        Heartbeat(claim, lambda: False, every=0.001, patience=0.01, main=True) as beating,
        pytest.raises(KeyboardInterrupt),
        beating.interruptible(100),
    ):
        threading.Event().wait(10)
