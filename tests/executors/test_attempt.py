"""Whatever happens to a trial becomes its outcome."""

import errno
import logging
import subprocess
import sys

import pytest
import torch

from autopeft.errors import DataError, KernelError
from autopeft.executors.attempt import attempt
from autopeft.trial import State
from tests.contracts.executor import waiting
from tests.executors.evaluators import Raising, Steady, measured

CPU_ALLOCATOR = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)"
)


def outcome(error):
    """Return what becomes of a trial whose evaluator raises."""
    *_, last = attempt(Raising({0: error}), next(waiting(1)))
    return last


def test_a_measurement_ends_a_trial():
    first, last = attempt(Steady(), next(waiting(1)))

    assert (first.state, first.progress) == (State.RUNNING, 0.5)
    assert (last.state, last.progress) == (State.COMPLETE, 1.0)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError(CPU_ALLOCATOR),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 18.13 GB)."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("could not create a primitive"),
        RuntimeError("can't start new thread"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_what_allocators_raise_is_known_as_lack_of_memory(error):
    assert outcome(error).state is State.OOM


def test_torch_really_says_that_memory_is_short_in_these_words():
    """The allocator is asked for more than any address space holds."""
    with pytest.raises(RuntimeError, match="memory") as caught:
        torch.empty(2**60, dtype=torch.int8)

    assert outcome(caught.value).state is State.OOM


def test_a_message_about_memory_in_another_error_is_no_lack_of_memory():
    assert outcome(ValueError("column 'out of memory' is no label")).state is State.FAILED


def test_the_reason_is_the_type_and_the_first_line():
    assert outcome(KeyError("label")).failure == "KeyError: 'label'"
    assert outcome(ValueError("\nfirst\nsecond")).failure == "ValueError: first"
    assert outcome(ValueError()).failure == "ValueError"


def test_a_failed_trial_keeps_how_far_it_came():
    assert outcome(ValueError("late")).progress == 0.5


def test_the_traceback_is_logged(caplog):
    with caplog.at_level(logging.WARNING, logger="autopeft"):
        outcome(ValueError("shapes differ"))

    assert "trial 0 failed" in caplog.text
    assert "ValueError: shapes differ" in caplog.text


@pytest.mark.slow
def test_a_traceback_is_not_shown_to_who_has_not_asked_for_it():
    """Python shows the warnings of loggers without any handler on standard error."""
    code = "from autopeft.executors import attempt; attempt.logger.warning('trial 0 failed')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert (done.stdout, done.stderr) == ("", "")


def test_what_the_user_has_to_mend_is_raised_and_not_an_outcome():
    with pytest.raises(DataError, match="the file has changed"):
        outcome(DataError("the file has changed"))


def test_operands_that_an_operator_refuses_end_one_trial_and_not_the_study():
    ended = outcome(KernelError("lora_linear needs another mask"))

    assert ended.state is State.FAILED
    assert ended.failure == "KernelError: lora_linear needs another mask"


def test_the_evaluator_is_closed_when_its_trial_has_ended():
    closed = []

    class Tidy:
        def evaluate(self, trials):
            try:
                yield measured(trials[0])
                yield measured(trials[0])
            finally:
                closed.append(True)

    assert len(list(attempt(Tidy(), next(waiting(1))))) == 1
    assert closed == [True]
