"""How much training a study asks for, in whole trainings."""

from importlib import import_module

from autopeft.halving import ETA
from autopeft.study import Limits, Study
from autopeft.wiring.strategies import entry_of

_SUPERNET = 2.3  # its three trainings of forward and backward passes share some (measured)
_GATES = 1.6  # one training's steps, each so much dearer (measured for s3pet's first order)
_FORWARD = 1 / 3  # of a training step


def trainings_of(study: Study, limits: Limits) -> float:
    """Return how many whole trainings a search is worth: parts of trials, finals, what is shared.

    Of those that are measured at a rung one in `ETA` goes on.
    """
    lower = (0.0, *study.rungs)
    parts = (high - low for low, high in zip(lower, study.rungs, strict=False))
    each: float = sum(part / ETA**rung for rung, part in enumerate(parts))
    return limits.trials * each + 2 * study.finals + _shared(study)


def _shared(study: Study) -> float:
    entry = entry_of(study.strategy)
    if entry.needs == "structures":
        return _GATES
    if entry.needs == "nothing":
        return 0.0
    options = import_module(f"autopeft.strategies.{entry.module}").Options.parse(study.options)
    train, validation, _ = study.task.examples
    scoring = _FORWARD * validation / (train * study.recipe.epochs)
    return _SUPERNET + float(min(options.evaluations, study.space.size) * scoring)
