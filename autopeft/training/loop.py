"""Training and prediction, step by step."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from autopeft.training.batches import Encoded, collate, ordered_batches, training_batches
from autopeft.training.head import TaskModel
from autopeft.trial import Recipe

_CLIP = 1.0
_PREDICTION_BATCH = 64


class DivergedError(ArithmeticError):
    """The loss or the scores are no longer finite numbers."""


def steps_of(examples: int, recipe: Recipe) -> int:
    """Count the steps of a whole recipe."""
    return math.ceil(examples / recipe.batch_size) * recipe.epochs


def fit(
    model: TaskModel,
    train: Encoded,
    recipe: Recipe,
    trained: Mapping[str, Sequence[nn.Parameter]],
    *,
    steps: int,
    rng: np.random.Generator,
) -> Iterator[int]:
    """Train for ``steps`` steps, yielding the number of steps done after each.

    The learning rates rise over the recipe's warm-up and fall linearly to zero at the end of the
    whole recipe, however many steps are taken. ``trained`` maps methods to their parameters.

    Raises:
        DivergedError: The loss is infinite or no number.
    """
    parameters = [p for group in trained.values() for p in group] + model.head_parameters()
    optimizer, schedule = _optimizer(model, recipe, trained, steps_of(len(train), recipe))
    model.train()
    for step, rows in enumerate(_endless(train, recipe.batch_size, rng), 1):
        with _autocast(recipe):
            loss = model.loss(collate(train, rows))
        if not math.isfinite(loss.item()):
            raise DivergedError(f"the loss became {loss.item()} at step {step} of {steps}")
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(parameters, _CLIP)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        yield step
        if step == steps:
            return


def predict(model: TaskModel, part: Encoded, recipe: Recipe) -> tuple[NDArray[np.generic], float]:
    """Return the predictions of a part in its order, and its mean loss.

    Raises:
        DivergedError: A score is infinite or no number.
    """
    model.eval()
    pieces: list[tuple[NDArray[np.int64], torch.Tensor]] = []
    total = 0.0
    with torch.inference_mode(), _autocast(recipe):
        for batch in ordered_batches(part, _PREDICTION_BATCH):
            scores = model(batch.inputs)
            if not torch.isfinite(scores).all():
                raise DivergedError("the scores of the trained model are not finite")
            total += float(model.loss_of(scores, batch.labels)) * len(batch.rows)
            pieces.append((batch.rows, model.predictions(scores)))
    found = np.empty(len(part), dtype=pieces[0][1].numpy().dtype)
    for rows, values in pieces:
        found[rows] = values.numpy()
    return found, total / len(part)


@contextmanager
def dropout(model: nn.Module, probability: float) -> Iterator[None]:
    """Set the probability of all dropout layers for the time of a ``with`` block."""
    layers = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    before = [layer.p for layer in layers]
    for layer in layers:
        layer.p = probability
    try:
        yield
    finally:
        for layer, p in zip(layers, before, strict=True):
            layer.p = p


def _optimizer(
    model: TaskModel,
    recipe: Recipe,
    trained: Mapping[str, Sequence[nn.Parameter]],
    whole: int,
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    groups = [
        {"params": list(parameters), "lr": recipe.learning_rates[method]}
        for method, parameters in trained.items()
    ]
    groups.append({"params": model.head_parameters(), "lr": recipe.head_learning_rate})
    optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
    warmup = max(1, round(recipe.warmup * whole))

    def factor(step: int) -> float:
        return min((step + 1) / warmup, max(0.0, (whole - step) / max(1, whole - warmup)))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _endless(train: Encoded, size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    while True:
        yield from training_batches(train, size, rng)


def _autocast(recipe: Recipe) -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=recipe.precision == "bf16")
