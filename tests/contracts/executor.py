"""What every executor promises."""

import threading
from collections import Counter

import pytest

from autopeft.errors import DataError, StoreError
from autopeft.search_spaces.configuration import Configuration
from autopeft.trial import Proposal, Recipe, State, Trial
from tests.executors.evaluators import Endless, Raising, Silent, Steady


def waiting(count):
    """Yield trials as a study does: started, one at a time."""
    proposal = Proposal(configuration=Configuration(((1,),)), recipe=Recipe(), seed=0)
    for number in range(count):
        yield Trial(number=number, proposal=proposal).started()


def ended(changes):
    """Return the ended trials by number."""
    return {trial.number: trial for trial in changes if trial.ended}


class ExecutorContract:
    """What every executor promises. A new one subclasses this and gives `executor`.

    ``workers`` is the number of trials that it may run at once.
    """

    workers = 1

    def test_every_trial_ends_exactly_once(self, executor):
        changes = list(executor.run(Steady(), waiting(5)))

        assert Counter(trial.number for trial in changes if trial.ended) == Counter(range(5))
        assert {trial.state for trial in changes if trial.ended} == {State.COMPLETE}

    def test_progress_is_passed_on_before_the_end(self, executor):
        changes = list(executor.run(Steady(), waiting(2)))

        for number in range(2):
            assert [t.progress for t in changes if t.number == number] == [0.5, 1.0]

    def test_without_trials_there_is_nothing_to_do(self, executor):
        assert list(executor.run(Steady(), waiting(0))) == []

    def test_what_goes_wrong_is_an_outcome_of_its_trial_and_the_others_go_on(self, executor):
        evaluator = Raising(
            {0: ValueError("shapes differ"), 1: MemoryError("38 GiB"), 3: OSError()}
        )

        outcomes = ended(executor.run(evaluator, waiting(5)))

        assert [outcomes[number].state for number in range(5)] == [
            State.FAILED,
            State.OOM,
            State.COMPLETE,
            State.FAILED,
            State.COMPLETE,
        ]
        assert [outcomes[number].failure for number in (0, 1, 3)] == [
            "ValueError: shapes differ",
            "MemoryError: 38 GiB",
            "OSError",
        ]

    def test_an_evaluator_that_stops_without_a_measurement_is_an_outcome(self, executor):
        [outcome] = ended(executor.run(Silent(), waiting(1))).values()

        assert outcome.state is State.FAILED
        assert outcome.failure == "the evaluator stopped without a measurement"

    def test_trials_are_pulled_in_the_thread_of_the_consumer(self, executor):
        threads = []

        def watched():
            for trial in waiting(3):
                threads.append(threading.current_thread())
                yield trial

        assert len(ended(executor.run(Steady(), watched()))) == 3
        assert set(threads) == {threading.current_thread()}

    def test_a_trial_is_pulled_only_when_a_worker_is_free(self, executor):
        """So with one worker, every pull has seen the end of all earlier trials."""
        seen, running_at_pull = set(), []

        def watched():
            for trial in waiting(6):
                running_at_pull.append(trial.number - len(seen))
                yield trial

        for trial in executor.run(Steady(), watched()):
            if trial.ended:
                seen.add(trial.number)

        assert len(running_at_pull) == 6
        assert max(running_at_pull) < self.workers

    def test_closing_early_stops_the_run(self, executor, tmp_path):
        pulled = []

        def watched():
            for trial in waiting(9):
                pulled.append(trial.number)
                yield trial

        changes = executor.run(Endless(tmp_path), watched())
        assert next(changes).progress == 0.5
        changes.close()

        assert len(pulled) <= self.workers

    def test_an_error_while_pulling_stops_the_run(self, executor):
        def broken():
            yield from waiting(2)
            raise StoreError("the disk is full")

        with pytest.raises(StoreError, match="the disk is full"):
            list(executor.run(Steady(), broken()))

    def test_what_the_user_has_to_mend_stops_the_run(self, executor):
        evaluator = Raising({1: DataError("reviews.csv has changed since the study began")})

        with pytest.raises(DataError, match="has changed since the study began"):
            list(executor.run(evaluator, waiting(9)))

    def test_an_executor_can_run_again(self, executor):
        """A study runs its search first and its finals after."""
        for _ in range(2):
            assert len(ended(executor.run(Steady(), waiting(2)))) == 2
