"""One after another in this process."""

import os

import pytest

from autopeft.executors.inline import InlineExecutor
from autopeft.trial import State
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


class Packs:
    """Completes every trial of a pack at its end, and remembers how many there were."""

    def __init__(self, wrong=()):
        self.sizes = []
        self._wrong = wrong

    def evaluate(self, trials):
        self.sizes.append(len(trials))
        for trial in trials:
            yield trial.running(0.5)
        for trial in trials:
            if trial.number in self._wrong:
                raise MemoryError("38 GiB")
            yield from (change for change in Steady().evaluate([trial]) if change.ended)


def test_as_many_are_pulled_ahead_as_it_is_told():
    evaluator = Packs()

    outcomes = ended(InlineExecutor().run(evaluator, waiting(5), ahead=2))

    assert evaluator.sizes == [2, 2, 1]
    assert {trial.state for trial in outcomes.values()} == {State.COMPLETE}


def test_those_of_a_pack_that_fails_are_tried_alone():
    """The one that is to blame has failed; the one before it had ended already."""
    evaluator = Packs(wrong={1})

    outcomes = ended(InlineExecutor().run(evaluator, waiting(4), ahead=4))

    assert evaluator.sizes == [4, 1, 1, 1]
    assert [outcomes[number].state for number in range(4)] == [
        State.COMPLETE,
        State.OOM,
        State.COMPLETE,
        State.COMPLETE,
    ]
