"""One after another in this process."""

import os

import pytest

from autopeft.executors.inline import InlineExecutor
from tests.contracts.executor import ExecutorContract, ended, waiting
from tests.executors.evaluators import Raising, Steady


class TestInlineExecutor(ExecutorContract):
    @pytest.fixture
    def executor(self):
        return InlineExecutor()

    def test_trials_are_measured_in_this_process(self, executor):
        outcomes = ended(executor.run(Steady(), waiting(2)))

        assert {trial.score for trial in outcomes.values()} == {os.getpid()}

    def test_an_interrupt_of_the_user_is_no_failure_of_the_trial(self, executor):
        with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
            list(executor.run(Raising({0: KeyboardInterrupt("Ctrl-C")}), waiting(1)))
