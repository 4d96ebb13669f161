"""How much training a study asks for, in whole trainings."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from autopeft.halving import ETA
from autopeft.study import Limits, Study
from autopeft.wiring.strategies import entry_of

if TYPE_CHECKING:
    from autopeft.training.estimate import Estimate

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


def document_of(study: Study, limits: Limits, workers: int, cost: "Estimate") -> dict[str, Any]:
    """Say as JSON what a search would cost, of which ``cost`` is that of one trial."""
    whole, limit = trainings_of(study, limits), limits.seconds
    unlimited = cost.seconds * whole / workers
    smallest, largest = study.space.smallest(), study.space.largest()
    return {
        "study": study.id,
        "backbone_parameters": study.backbone.parameters,
        "ceiling": study.ceiling,
        "space": study.space.name,
        "configurations": study.space.size,
        "smallest": smallest.parameters(study.space.slots),
        "largest": largest.parameters(study.space.slots),
        "largest_is": "exact" if study.space.largest_is_exact else "at least",
        "examples": list(study.task.examples),
        "trainings": limits.trials + 2 * study.finals,
        "whole_trainings": round(whole, 1),
        "workers": workers,
        "steps_per_trial": cost.steps,
        "seconds_per_trial": round(cost.seconds, 1),
        "seconds": round(unlimited if limit is None else min(limit, unlimited), 1),
        "seconds_without_limit": round(unlimited, 1),
        "limit_seconds": limit,
        "memory_bytes": cost.memory,
    }


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
