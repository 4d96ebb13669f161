"""Training and prediction, step by step."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autopeft.training.batches import (
    PREDICTED_TOKENS,
    Examples,
    ordered_batches,
    training_batches,
)
from autopeft.training.heads.model import TaskModel
from autopeft.training.team import ALONE, Team
from autopeft.trial import Recipe

_CLIP = 1.0
_DEPTH = frozenset(("layerdrop", "drop_prob", "drop_path_rate"))


class Course(Protocol):
    """What follows a training, and divides its batches; see `course.LongCourse`."""

    pieces: int
    team: Team

    def stepped(self, step: int, loss: float) -> None:
        """Learn what the loss of a step was."""

    def ends(self, step: int) -> bool:
        """Do what is due after a step, and tell whether it was the last."""


class Pace(Protocol):
    """How batches are taken so that there is room for them; see `room.Pace`."""

    def divided(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Divide the rows of a batch into pieces."""

    def taken(self, step: Callable[[], float], trained: Sequence[nn.Parameter]) -> float:
        """Take a step that leaves gradients, once more where memory runs out."""


class DivergedError(ArithmeticError):
    """The loss or the scores are no longer finite numbers."""


def steps_of(examples: int, recipe: Recipe) -> int:
    """Count the steps of a whole recipe."""
    return math.ceil(examples / recipe.batch_size) * recipe.epochs


def fit(
    model: TaskModel,
    train: Examples,
    recipe: Recipe,
    trained: Mapping[str, Sequence[nn.Parameter]],
    *,
    steps: int,
    rng: np.random.Generator,
    penalty: Callable[[], Tensor | None] | None = None,
    stepped: Callable[[int, int], None] | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    done: int = 0,
    course: Course | None = None,
    pace: Pace | None = None,
) -> Iterator[int]:
    """Train until ``steps`` steps are done, yielding the number of steps done after each.

    The learning rates rise over the recipe's warm-up and fall linearly to zero at the end of the
    whole recipe, however many steps are taken. ``trained`` maps methods to their parameters; where
    neither they nor the head have any, there is no step. ``penalty`` is added to every loss, and
    ``stepped`` is told each step and those of the whole recipe, while its gradients are there.
    Training that was stopped after ``done`` steps goes on with the optimizer that it had, and with
    ``rng`` as it was at the beginning. A ``course`` divides every batch into pieces and among
    processes, is told the losses, and may end the training. A ``pace`` divides them further.

    Raises:
        DivergedError: The loss is infinite or no number.
    """
    parameters = [*(p for group in trained.values() for p in group), *model.head().values()]
    if not parameters or done >= steps:
        return
    optimizer = optimizer or optimizer_of(model, recipe, trained)
    whole = steps_of(len(train), recipe)
    model.train()
    batches = islice(_endless(train, recipe.batch_size, rng), done, None)
    for step, rows in enumerate(batches, done + 1):
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * schedule(step - 1, whole, recipe.warmup)
        step_of = partial(learned, model, train, rows, recipe, penalty, course, pace)
        loss = pace.taken(step_of, parameters) if pace else step_of()
        if not math.isfinite(loss):
            raise DivergedError(f"the loss became {loss} at step {step} of {steps}")
        if course:
            course.team.sum_gradients(parameters)
        clip(parameters)
        optimizer.step()
        if stepped:
            stepped(step, whole)
        optimizer.zero_grad()
        if course:
            course.stepped(step, loss)
        yield step
        if step == steps or (course and course.ends(step)):
            return


def learned(  # noqa: PLR0917  # what is learned, and how
    model: TaskModel,
    train: Examples,
    rows: NDArray[np.int64],
    recipe: Recipe,
    penalty: Callable[[], Tensor | None] | None = None,
    course: Course | None = None,
    pace: Pace | None = None,
) -> float:
    """Add the gradients of a batch, and return its loss.

    In pieces each one counts by what it is scored on, so that their sum is the mean of the whole.
    """
    team = course.team if course else ALONE
    count = team.size * (course.pieces if course else 1)
    own = [piece for piece in np.array_split(rows, count)[team.rank :: team.size] if len(piece)]
    pieces = [piece for large in own for piece in (pace.divided(large) if pace else [large])]
    # who shards runs blocks as often as the others, also where there is nothing left for it
    idle = -(-min(len(rows), count) // team.size) - len(own) if team.shards else 0
    divided = count > 1 or len(pieces) > 1
    whole = model.scored(train.batch(rows)) if divided else 1
    total = 0.0
    for number, piece in enumerate([*pieces, *(rows[:1] for _ in range(idle))]):
        batch = train.batch(piece)
        with autocast(recipe):
            loss = model.loss(batch)
            if divided:
                counts = number < len(pieces)
                loss = loss * (counts * model.scored(batch) / max(1, whole))
            once = number == 0 and team.rank == 0
            if once and penalty and (added := penalty()) is not None:
                loss = loss + added
        total += loss.item()
        if math.isfinite(total):
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return team.sum_of(total)


def predict(
    model: TaskModel, part: Examples, recipe: Recipe, tokens: int = PREDICTED_TOKENS
) -> tuple[NDArray[np.generic], float]:
    """Return the predictions of a part in its order, and its mean loss.

    About so many ``tokens`` go through the model at once.

    Raises:
        DivergedError: A score is infinite or no number.
    """
    model.eval()
    pieces: list[tuple[NDArray[np.int64], NDArray[np.generic]]] = []
    total, weight = 0.0, 0
    with torch.inference_mode(), autocast(recipe):
        for batch in ordered_batches(part, tokens=tokens):
            judged = model.judge(batch)
            if not judged.finite:
                raise DivergedError("the scores of the trained model are not finite")
            total += float(judged.loss) * judged.weight
            weight += judged.weight
            pieces.append((batch.rows, judged.predictions.numpy()))
    first = pieces[0][1]
    found = np.empty((len(part), *first.shape[1:]), dtype=first.dtype)
    for rows, values in pieces:
        found[rows] = values
    return found, total / max(1, weight)


@contextmanager
def dropout(model: nn.Module, probability: float) -> Iterator[None]:
    """Set the probability of all dropout for the time of a ``with`` block.

    That is the layers of dropout, and the numbers that newer models keep in their modules for the
    functions. What drops whole layers or paths is switched off: it would change the depth that a
    configuration is trained at.
    """
    places = [
        (module, name, value)
        for module in model.modules()
        for name, value in vars(module).items()
        if _is_dropout(module, name, value)
    ]
    for module, name, _ in places:
        setattr(module, name, 0.0 if name in _DEPTH else probability)
    try:
        yield
    finally:
        for module, name, value in places:
            setattr(module, name, value)


def _is_dropout(module: nn.Module, name: str, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    if isinstance(module, nn.modules.dropout._DropoutNd):  # noqa: SLF001  # the base of all of them
        return name == "p"
    return "dropout" in name or name in _DEPTH


def optimizer_of(
    model: TaskModel, recipe: Recipe, trained: Mapping[str, Sequence[nn.Parameter]]
) -> torch.optim.Optimizer:
    """Build AdamW with a rate for each method, and one for the head."""
    groups = [
        {"name": method, "params": list(parameters), "lr": recipe.learning_rates[method]}
        for method, parameters in trained.items()
    ]
    head = list(model.head().values())
    groups.append({"name": "head", "params": head, "lr": recipe.head_learning_rate})
    for group in groups:
        group["initial_lr"] = group["lr"]
    # fused: one pass over each parameter, where the default takes a dozen operators
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay, fused=True)


def clip(parameters: Sequence[nn.Parameter]) -> None:
    """Bring the norm of all gradients together down to 1, where it is larger."""
    torch.nn.utils.clip_grad_norm_(parameters, _CLIP, foreach=True)


def schedule(done: int, whole: int, warmup: float) -> float:
    """Return the factor on all learning rates after ``done`` of ``whole`` steps.

    It rises over a share ``warmup`` of the steps, and then falls linearly to zero.
    """
    rising = max(1, round(warmup * whole))
    return min((done + 1) / rising, max(0.0, (whole - done) / max(1, whole - rising)))


def _endless(train: Examples, size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    while True:
        yield from training_batches(train, size, rng)


def autocast(recipe: Recipe) -> torch.autocast:
    """Return the precision of a recipe as a context."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=recipe.precision == "bf16")
