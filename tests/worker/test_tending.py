"""When a supervisor starts a process, as a matter of rules alone."""

import time

import pytest

from autopeft.service.job import Lane
from autopeft.worker.supervisor import _tend


class Berth:
    """The place of a process that a test says to live."""

    def __init__(self, lane=Lane.CHECKS, age=None):
        self.lane = lane
        self.lives = age is not None
        self.started = time.monotonic() - (age or 0.0)

    @property
    def ready(self):
        return not self.lives

    def sign(self, jobs):
        pass

    def start(self):
        self.lives = True


class Queue:
    """Work that waits, or not."""

    def __init__(self, waits=True):
        self.waits = waits

    def waiting(self, lane):
        return self.waits


@pytest.mark.parametrize(
    ("age", "waited", "starts"), [(None, 0, True), (60, 0, False), (60, 60, True), (1, 60, False)]
)
def test_a_second_process_is_started_where_work_waits_beside_the_first(age, waited, starts):
    """Not at once, for the first takes it unless it is busy, and may have just been started."""
    first, second = Berth(age=age), Berth()
    since = {Lane.CHECKS: time.monotonic() - waited} if waited else {}

    _tend([first, second], Queue(), since)

    assert (second if age else first).lives is starts
    assert (Lane.CHECKS in since) is not starts


def test_that_work_has_waited_is_forgotten_when_none_waits():
    since = {Lane.CHECKS: 0.0}

    _tend([Berth(age=60), Berth()], Queue(waits=False), since)

    assert since == {}
