"""One try at one trial: whatever happens to it becomes its outcome."""

import logging
from collections.abc import Iterator

from autopeft.errors import AutopeftError
from autopeft.ports import Evaluator
from autopeft.training.memory import is_out_of_memory
from autopeft.trial import Trial

logger = logging.getLogger(__name__)
# The outcome says what went wrong. Who wants the traceback too adds a handler; without any, Python
# would write it on standard error.
logging.getLogger("autopeft").addHandler(logging.NullHandler())


def attempt(evaluator: Evaluator, trial: Trial) -> Iterator[Trial]:
    """Measure a trial, yielding it whenever it has changed and at last in a state that has ended.

    Raises:
        AutopeftError: The evaluator found something that the user has to mend, such as a data
            file that has changed; no trial is to blame for it, so the study has to stop.
    """
    latest = trial
    try:
        for latest in evaluator.evaluate((trial,)):
            yield latest
            if latest.ended:
                return
    except AutopeftError:
        raise
    except Exception as error:
        logger.warning("trial %d failed", trial.number, exc_info=True)
        ended = _outcome(latest, error)
    else:
        ended = latest.failed("the evaluator stopped without a measurement")
    # not yielded inside `except`: the traceback keeps the trial's tensors alive
    yield ended


def _outcome(trial: Trial, error: Exception) -> Trial:
    reason = _reason(error)
    return trial.out_of_memory(reason) if is_out_of_memory(error) else trial.failed(reason)


def _reason(error: Exception) -> str:
    """Name an error by its type and the first line of its message."""
    first_line = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__
