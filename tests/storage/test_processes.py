"""Whether a process lives."""

import os
import signal
import subprocess
from dataclasses import replace

from autopeft.storage.processes import process_of, this_process


def test_this_process_lives():
    """Its id is the one that the system gives."""
    assert this_process().lives
    assert this_process().pid == os.getpid()


def test_a_process_that_has_ended_does_not_live():
    """Neither while its parent has not asked for it yet, nor later."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        process = process_of(child.pid)
        assert process.lives

        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, not yet fetched
        assert not process.lives

    assert not process.lives


def test_a_later_process_with_the_same_id_is_another_one():
    """Unless the system did not tell when the first began."""
    assert not replace(this_process(), started=1).lives
    assert replace(this_process(), started=0).lives


def test_a_process_can_be_asked_for_only_on_its_own_machine_and_in_its_own_container():
    """Process 1 of one container is not process 1 of another."""
    here = this_process()

    assert here.seen_from(process_of(1))
    assert not here.seen_from(replace(here, host="elsewhere"))
    assert not here.seen_from(replace(here, namespace="pid:[7]"))
