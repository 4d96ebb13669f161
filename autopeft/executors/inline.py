"""One device: trials run one after another in this process."""

from collections.abc import Iterator

from autopeft.executors.attempt import attempt
from autopeft.ports import Evaluator
from autopeft.trial import Trial


class InlineExecutor:
    """Runs trials one after another in this process."""

    def run(self, evaluator: Evaluator, trials: Iterator[Trial]) -> Iterator[Trial]:
        """Pull a trial when the one before has ended, yielding each whenever it has changed."""
        for trial in trials:
            yield from attempt(evaluator, trial)
