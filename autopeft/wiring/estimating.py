"""How much training a study asks for, in whole trainings."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from autopeft.evaluators.inherited import FEW
from autopeft.halving import ETA
from autopeft.study import Limits, Study
from autopeft.wiring.strategies import entry_of

if TYPE_CHECKING:
    from autopeft.training.estimate import Estimate

_SUPERNET = 2.3  # its three trainings of forward and backward passes share some (measured)
_GATES = 1.6  # one training's steps, each so much dearer (measured for s3pet's first order)
_FORWARD = 1 / 3  # of a training step
_PRECISE = 100.0  # seconds: less is given with three digits, more to a tenth


def trainings_of(study: Study, limits: Limits) -> float:
    """Return how many whole trainings a search is worth: parts of trials, finals, what is shared.

    Of those that are measured at a rung one in `ETA` goes on.
    """
    lower = (0.0, *study.rungs)
    parts = (high - low for low, high in zip(lower, study.rungs, strict=False))
    each: float = sum(part / ETA**rung for rung, part in enumerate(parts))
    return limits.trials * each + 2 * study.finals + _shared(study, limits)


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
        "seconds_per_trial": _seconds(cost.seconds),
        "seconds": _seconds(unlimited if limit is None else min(limit, unlimited)),
        "seconds_without_limit": _seconds(unlimited),
        "limit_seconds": limit,
        "memory_bytes": cost.memory,
        "examples_at_once": cost.examples,
        "activations_twice": cost.twice,
    }


def _shared(study: Study, limits: Limits) -> float:
    entry = entry_of(study.strategy)
    if entry.needs == "structures":
        return _GATES
    if entry.needs == "nothing":
        return 0.0
    if study.space.size <= FEW:
        return 0.0
    module = import_module(f"autopeft.strategies.{entry.module}")
    scores = module.Options.parse(study.options).evaluations
    scores += limits.trials * getattr(module, "ASKED", 0)
    return _SUPERNET + float(min(scores, study.space.size) * _scoring(study))


def _scoring(study: Study) -> float:
    """Return what an inherited score costs: a forward pass over some of the validation part."""
    from autopeft.supernet.scoring import affordable

    train, validation, _ = study.task.examples
    examples = min(validation, affordable(train, study.recipe.epochs))
    return _FORWARD * examples / (train * study.recipe.epochs)


def _seconds(seconds: float) -> float:
    """Round to what is worth telling, also of models so small that a trial takes no second.

    Example:
        >>> _seconds(0.052349), _seconds(3.14159), _seconds(1234.56)
        (0.0523, 3.14, 1234.6)
    """
    return round(seconds, 1) if seconds >= _PRECISE else float(f"{seconds:.3g}")
