"""Which lanes go abreast: those that wait for their next step while another one takes it."""

import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autopeft.kernels.grouped_lora_linear.operator import grouped_lora_linear
from autopeft.training.batches import Batch, Examples, training_batches
from autopeft.training.heads.model import Judged, TaskModel
from autopeft.training.operators import operators_in
from autopeft.training.packing.abreast import Abreast, Member, places
from autopeft.trial import Recipe


class Place:
    """Where a lane stands in its training, and what comes next.

    ``seconds`` is the time that was spent on it, its share of what is done for several included.
    ``member`` is there once it may go abreast with others, and ``ran`` names the operators that
    were run for it and others in one call; its first step, alone, tells of its own.
    """

    def __init__(self, train: Examples, recipe: Recipe, seed: int, steps: int) -> None:
        self.steps = steps
        self.step = 0
        self.seconds = 0.0
        self.member: Member | None = None
        self.ran: frozenset[str] = frozenset()
        self._train = train
        self._order = _order(train, recipe.batch_size, np.random.default_rng(seed))
        self._drawn = next(self._order)

    @property
    def ready(self) -> bool:
        """Whether it has begun, and has a step to go."""
        return self.member is not None and 0 < self.step < self.steps

    def example(self) -> Batch:
        """Return a batch of one example."""
        return self._train.batch([0])

    def batch(self) -> Batch:
        """Return the batch of the next step, counting from those that are done."""
        while self._drawn[0] < self.step:
            self._drawn = next(self._order)
        return self._train.batch(self._drawn[1])


class Crew:
    """The lanes of a pack that may go abreast.

    The first that comes to a step takes along those that are ready for theirs; when their turn
    comes, their gradients are there. ``plain`` is the trainer's model without any method, ``most``
    the largest number of tokens times width in one pass, and ``small`` that of a batch which goes
    along.
    """

    def __init__(self, plain: nn.Module, width: int, most: float, small: float) -> None:
        self._plain = plain
        self._most = int(most // width)
        self._small = small / width
        self._places: list[Place] = []
        self._ahead: dict[Place, tuple[NDArray[np.int64], Tensor]] = {}
        self._passes: dict[tuple[Place, ...], Abreast] = {}

    def join(self, place: Place, whole: nn.Module, member: Member) -> bool:
        """Let a lane go abreast with others, if it can; ``whole`` is the model of its own."""
        path = next(name for name, module in whole.named_modules() if module is member.called)
        self._called = self._plain.get_submodule(path)
        member.places = places(self._called, member, place.example())
        if "" in member.places:
            return False
        place.member = member
        self._places.append(place)
        return True

    def leave(self, place: Place) -> None:
        """Forget a lane that has ended."""
        if place in self._places:
            self._places.remove(place)
        self._ahead.pop(place, None)
        self._passes = {key: found for key, found in self._passes.items() if place not in key}

    def loss(self, place: Place, batch: Batch, alone: TaskModel) -> Tensor:
        """Return the loss of a lane's batch, to learn from.

        Either ``alone`` gives it, or the gradients of all that went along are there already.
        """
        if place in self._ahead:
            rows, loss = self._ahead.pop(place)
            assert np.array_equal(rows, batch.rows), (
                "a lane came to another batch than was foreseen"
            )
            return loss.requires_grad_()
        others = self._others(place, batch)
        if not others:
            return alone.loss(batch)
        return self._abreast((place, *others), [batch, *(other.batch() for other in others)])

    def _abreast(self, places: tuple[Place, ...], batches: Sequence[Batch]) -> Tensor:
        began = time.perf_counter()
        first, *rest = (
            self._passes[places].learn(batches)
            if places in self._passes
            else self._first(places, batches)
        )
        for other, batch, loss in zip(places[1:], batches[1:], rest, strict=True):
            self._ahead[other] = batch.rows, loss
        spent = time.perf_counter() - began
        places[0].seconds -= spent
        for place in places:
            place.seconds += spent / len(places)
        return first.requires_grad_()

    def _first(self, places: tuple[Place, ...], batches: Sequence[Batch]) -> list[Tensor]:
        """Learn in the first pass of some lanes, and look on at what it runs for all of them."""
        members = [place.member for place in places if place.member]
        found = self._passes[places] = Abreast(self._called, members, batches[0])
        losses: list[Tensor] = []
        ran = operators_in(lambda: losses.extend(found.learn(batches)))
        for place in places:
            place.ran |= {name for name in ran if name.startswith(grouped_lora_linear.__name__)}
        return losses

    def _others(self, place: Place, batch: Batch) -> list[Place]:
        """Return who comes along: as many as there is room for, in the order of their turns."""
        if not place.ready or _numbers(batch) > self._small:
            return []
        at = self._places.index(place)
        turns = [*self._places[at + 1 :], *self._places[:at]]
        waiting = [other for other in turns if other.ready and other not in self._ahead]
        return waiting[: max(0, self._most // max(1, _numbers(batch)) - 1)]


class Rowing(nn.Module):
    """A model that learns together with others where it can, and is scored on its own."""

    def __init__(self, alone: TaskModel, crew: Crew, place: Place) -> None:
        super().__init__()
        self.model = alone
        self._with = crew, place

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean loss of a batch, to learn from."""
        crew, place = self._with
        return crew.loss(place, batch, self.model)

    def scored(self, batch: Batch) -> int:
        """Count what the mean loss of a batch is over."""
        return self.model.scored(batch)

    def judge(self, batch: Batch) -> Judged:
        """Return predictions and loss of a batch."""
        return self.model.judge(batch)

    def head(self) -> dict[str, nn.Parameter]:
        """Return by name what is trained besides the methods."""
        return self.model.head()


def _numbers(batch: Batch) -> int:
    """Count the tokens of a batch; of images, patches of 16 x 16 pixels."""
    largest = max(batch.inputs.values(), key=torch.Tensor.numel)
    return largest.numel() // (3 * 16 * 16) if largest.dim() == 4 else largest.numel()


def _order(
    train: Examples, size: int, rng: np.random.Generator
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Number the batches that are learned from, epoch after epoch."""
    number = 0
    while True:
        for rows in training_batches(train, size, rng):
            yield number, rows
            number += 1
