"""One try at one trial: whatever happens to it becomes its outcome."""

import logging
from collections.abc import Iterator, Sequence

from autopeft.errors import AutopeftError, KernelError
from autopeft.ports import Evaluator
from autopeft.training.memory import NoRoomError, is_out_of_memory
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
    except Exception as error:
        if _is_to_be_mended(error):
            raise
        logger.warning("trial %d failed", trial.number, exc_info=True)
        ended = _outcome(latest, error)
    else:
        ended = latest.failed("the evaluator stopped without a measurement")
    # not yielded inside `except`: the traceback keeps the trial's tensors alive
    yield ended


def attempt_all(evaluator: Evaluator, trials: Sequence[Trial]) -> Iterator[Trial]:
    """Measure trials as one pack, each to its end, as `attempt` does with one.

    What goes wrong with the pack may be one trial's doing, or may be that they are so many: those
    that have not ended are tried once more, each alone.
    """
    open_ = {trial.number: trial for trial in trials}
    if len(open_) > 1:
        try:
            for latest in evaluator.evaluate(tuple(trials)):
                yield latest
                if latest.ended:
                    del open_[latest.number]
                if not open_:
                    return
        except Exception as error:
            if _is_to_be_mended(error):
                raise
            logger.warning("a pack of %d trials failed", len(trials), exc_info=True)
    for trial in open_.values():
        yield from attempt(evaluator, trial)


def _is_to_be_mended(error: Exception) -> bool:
    """Tell what the user has to mend; operands that an operator refuses are one trial's."""
    return isinstance(error, AutopeftError) and not isinstance(error, KernelError)


def _outcome(trial: Trial, error: Exception) -> Trial:
    reason = _reason(error)
    return trial.out_of_memory(reason) if is_out_of_memory(error) else trial.failed(reason)


def _reason(error: Exception) -> str:
    """Name an error by its type and the first line of its message; some speak for themselves."""
    first_line = next(iter(str(error).strip().splitlines()), "")
    if isinstance(error, NoRoomError):
        return first_line
    return f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__
