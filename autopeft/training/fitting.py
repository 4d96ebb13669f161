"""How many examples there is room for at once: found by taking steps on the longest of them.

A step on one example and on two tell what each further one adds; what follows from that is taken
once more in full, where it comes near to what there is. No step goes on past the limit.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from autopeft.backbone import Backbone
from autopeft.methods.inject import Injection
from autopeft.process import give_memory_back
from autopeft.tasks.splits import PartName
from autopeft.training.batches import PREDICTED_EXAMPLES, PREDICTED_TOKENS, Batch, Examples
from autopeft.training.engine.halves import halves_in
from autopeft.training.footprint import peak_of
from autopeft.training.heads.model import TaskModel
from autopeft.training.loop import autocast
from autopeft.training.memory import is_out_of_memory
from autopeft.trial import Recipe

COPIES = 4
"""Of what is trained: itself, a gradient that is added to, and AdamW's two moments."""

_PROMPTS = 64  # what methods may put in front of a text
VECTORS = 60
_HEAD_WIDTH = 8  # the least, three numbers kept for each weight
_LOGITS = 6
NUMBER_BYTES = 4
_IMAGE = 4  # axes: batch, colours, height, width


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A training that is about to begin: what is learned from, and what is scored.

    ``most`` is a generous count of the bytes that a step, or scoring, takes.
    """

    model: TaskModel
    train: Examples
    judged: TaskModel
    validation: Examples
    blocks: Sequence[nn.Module]
    injection: Injection
    recipe: Recipe
    most: float

    @property
    def trained(self) -> list[nn.Parameter]:
        """All that has gradients, the head included."""
        groups = self.injection.by_method().values()
        return [*(p for group in groups for p in group), *self.model.head().values()]


def bytes_at_most(
    backbone: Backbone, parts: Mapping[PartName, Examples], recipe: Recipe, words: int
) -> float:
    """Count generously what a step, or scoring, has at once; ``words`` are those of the lm head.

    A block keeps some thirty vectors a token, and for every head its weights on all tokens. This
    is twice that, and as if nothing in it were frozen.
    """
    part = max(parts.values(), key=lambda part: int(part.lengths.max()))
    cost = int(part.lengths.max())
    inputs = part.batch([int(np.argmax(part.lengths))]).inputs.values()
    longest = max(cost, *(_tokens(tensor) for tensor in inputs)) + _PROMPTS
    examples = max(recipe.batch_size, min(PREDICTED_EXAMPLES, PREDICTED_TOKENS // max(1, cost)))
    kept = backbone.blocks * backbone.width * (VECTORS + longest / _HEAD_WIDTH)
    return NUMBER_BYTES * examples * longest * (kept + _LOGITS * words)


class Fitting:
    """Takes steps of a training, and leaves everything as it was.

    ``free`` is asked for the bytes that tensors may take, once what stays is there.
    """

    def __init__(self, work: Work, free: Callable[[], float]) -> None:
        self._work = work
        self.reached = 0
        """The least that one example came to before it was too much."""
        module = cast("nn.Module", work.model)  # as the socket says
        stays = [*module.parameters(), *module.buffers()]
        shortest = work.train.batch([int(np.argmin(work.train.lengths))])
        with _apart(work), suppress(MemoryError, RuntimeError):
            # makes the copies in bf16, loads what libraries load, and compiles the first products
            peak_of(lambda: self._learn(shortest), stays, max(0.0, free()))
        self._known = [*stays, *halves_in(module)]
        give_memory_back()
        self.kept = (COPIES - 1) * sum(parameter.nbytes for parameter in work.trained)
        self._free = free() - self.kept

    def examples(self, batch: int) -> int:
        """Return how many examples to learn from at once, at most a ``batch``; 0 where none fit."""
        return self._largest(self.learning, min(batch, len(self._work.train)))

    def tokens(self, most: int) -> int:
        """Return how many tokens to score at once; no fewer than the longest example has."""
        part = self._work.validation
        cost = max(1, int(part.lengths.max()))
        wanted = max(1, min(len(part), PREDICTED_EXAMPLES, most // cost))
        found = self._largest(self.scoring, wanted)
        return most if found == wanted else max(1, found) * cost

    def learning(self, count: int) -> float:
        """Return the bytes that a step on so many of the longest examples comes to.

        One that comes to more than there is ends there.
        """
        batch = _longest(self._work.train, count)
        return self._peak(lambda: self._learn(batch))

    def scoring(self, count: int) -> float:
        """Return the same for scoring."""
        batch = _longest(self._work.validation, count)
        return self._peak(lambda: _judge(self._work.judged, batch, self._work.recipe))

    def _largest(self, peak: Callable[[int], float], batch: int) -> int:
        if (one := peak(1)) > self._free:
            self.reached = int(min(self.reached or math.inf, one))
            return 0
        if batch == 1 or (two := peak(2)) > self._free:
            return 1
        each = max(1.0, two - one)
        fixed = max(0.0, one - each)
        pieces = math.ceil(batch / max(2, min(batch, (self._free - fixed) // each)))
        while (size := math.ceil(batch / pieces)) > 2 and (
            fixed + size * each > self._free / 2 and peak(size) > self._free
        ):
            pieces += 1
        return size

    def _peak(self, step: Callable[[], None]) -> float:
        """Return what a step comes to; it may be cut off where it is too much."""
        with _apart(self._work):
            try:
                return peak_of(step, self._known, max(0.0, self._free))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                return math.inf

    def _learn(self, batch: Batch) -> None:
        work = self._work
        work.model.train()
        with torch.enable_grad():
            with autocast(work.recipe):
                loss = work.model.loss(batch)
                if (added := work.injection.penalty()) is not None:
                    loss = loss + added
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped


def _longest(part: Examples, count: int) -> Batch:
    order = np.argsort(part.lengths, kind="stable")
    return part.batch(order[len(order) - count :])


def _judge(model: TaskModel, batch: Batch, recipe: Recipe) -> None:
    model.eval()
    with torch.no_grad(), autocast(recipe):
        model.judge(batch)


@contextmanager
def _apart(work: Work) -> Iterator[None]:
    """Leave no gradients behind, and let dropout draw random numbers of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            yield
        finally:
            forget(work.trained)


def _tokens(inputs: Tensor) -> int:
    """Count the tokens of an example; of an image, patches of 16 x 16 pixels."""
    return inputs.numel() // (3 * 16 * 16) if inputs.dim() == _IMAGE else inputs.numel()


def forget(trained: Sequence[nn.Parameter]) -> None:
    """Drop the gradients."""
    for parameter in trained:
        parameter.grad = None
