"""Between the thread that drives machines and the thread that owns the study."""

import threading

import pytest

from autopeft.executors.handover import Handover
from tests.contracts.executor import waiting


def test_a_pull_waits_for_the_consumer_and_gets_its_trial():
    handover = Handover()

    def drive():
        while trial := handover.pull():
            handover.tell(trial.running(0.5))
        handover.end()

    thread = threading.Thread(target=drive)
    thread.start()
    changes = list(handover.serve(waiting(3)))
    thread.join()

    assert [(trial.number, trial.progress) for trial in changes] == [(0, 0.5), (1, 0.5), (2, 0.5)]


def test_closing_ends_a_pull_that_waits():
    handover, pulled = Handover(), []
    thread = threading.Thread(target=lambda: pulled.append(handover.pull()))
    thread.start()
    handover.close()
    thread.join()

    assert pulled == [None]
    assert handover.closed


def test_a_closed_handover_has_no_trials():
    handover = Handover()
    handover.close()

    assert handover.pull() is None


def test_an_error_that_is_told_is_raised_in_the_consumer():
    handover = Handover()
    handover.tell(OSError("the cluster is gone"))

    with pytest.raises(OSError, match="the cluster is gone"):
        list(handover.serve(waiting(1)))
