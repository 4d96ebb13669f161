"""One device: trials run in this process, one after another or several as a pack."""

from collections.abc import Iterator
from itertools import islice

from autopeft.executors.attempt import attempt_all
from autopeft.ports import Evaluator
from autopeft.trial import Trial


class InlineExecutor:
    """Runs trials in this process."""

    def run(
        self, evaluator: Evaluator, trials: Iterator[Trial], *, ahead: int = 1
    ) -> Iterator[Trial]:
        """Pull a trial, or a pack of ``ahead``, when those before have ended.

        Each is yielded whenever it has changed.
        """
        while pack := list(islice(trials, ahead)):
            yield from attempt_all(evaluator, pack)
