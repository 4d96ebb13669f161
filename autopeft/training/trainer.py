"""A backbone and encoded data, resident in memory, on which configurations are trained."""

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from autopeft.backbone import Backbone
from autopeft.errors import BackboneError
from autopeft.methods.inject import Injection, injected
from autopeft.search_spaces.configuration import Configuration, Slot
from autopeft.study import Objective, Task, Where
from autopeft.tasks.metrics import METRICS
from autopeft.tasks.reading import load_parts
from autopeft.tasks.splits import PartName
from autopeft.training.batches import Examples
from autopeft.training.costs import costs_of
from autopeft.training.engine.blocks import blocks_of, run_on_halves
from autopeft.training.fisher import choose_masks
from autopeft.training.fitting import NUMBER_BYTES, VECTORS, Work, bytes_at_most
from autopeft.training.heads.choice import encode_part, model_for
from autopeft.training.heads.model import TaskModel
from autopeft.training.held import keeps_packing
from autopeft.training.loop import Course, dropout, fit, optimizer_of, predict, steps_of
from autopeft.training.model_files import find_model
from autopeft.training.operators import operators_in
from autopeft.training.packing.lanes import lane_of
from autopeft.training.pausing import Paused
from autopeft.training.pretrained import check_kind, load_backbone, load_reader
from autopeft.training.room import Room
from autopeft.training.trunk.kept import KeptTrunk
from autopeft.training.trunk.shelf import Shelf
from autopeft.trial import Fidelity, Measurement, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """A configuration inside the backbone, with a head, while it is trained and used."""

    model: TaskModel
    injection: Injection
    recipe: Recipe
    room: Room = field(default_factory=Room)

    def predict(self, part: Examples) -> tuple[NDArray[np.generic], float]:
        """Return the predictions of a part in its order, and its mean loss."""
        return self.room.scored(partial(predict, self.model, part, self.recipe))


class LongCourse(Course, Protocol):
    """What follows the training of a plan from its beginning to its end; see `course`."""

    def begin(
        self, tuned: Tuned, optimizer: torch.optim.Optimizer, task: Task, parts: Mapping[Any, Any]
    ) -> int:
        """Take up what was kept, and return how many steps are done."""

    def settle(self) -> int | None:
        """Go back to the best step, where training may end early, and return it."""


class Trainer:
    """Trains configurations one after another on the same backbone and data.

    On a ``shelf`` is kept what the frozen lower blocks make of the data; without one they are
    computed in every step. ``room`` is the memory that it may use.
    """

    def __init__(
        self,
        task: Task,
        backbone: Backbone,
        whole: Any,
        parts: dict[PartName, Examples],
        shelf: Shelf | None = None,
        *,
        room: Room | None = None,
    ) -> None:
        self.parts = parts
        self.room = room or Room()
        self._task = task
        self._backbone = backbone
        self._whole = whole
        self._shelf = shelf
        # A language model's own head is no part of the backbone, whose sites are counted from here.
        self._model = whole.base_model if task.head == "lm" else whole
        head = whole.get_output_embeddings() if task.head == "lm" else None
        run_on_halves(self._model, backbone, head)
        self.trunk = KeptTrunk(shelf, backbone, task, self.blocks, parts) if shelf else None

    @classmethod
    def open(
        cls,
        task: Task,
        backbone: Backbone,
        where: Where,
        *,
        test: bool,
        threads: int | None,
        shelf: Shelf | None = None,
        room: Room | None = None,
        quantisation: Any = None,
    ) -> "Trainer":
        """Load backbone, data and what encodes it; the test part only where it is asked for.

        Raises:
            BackboneError: The model cannot be used, or not for the task or with its head.
            DataError: The data cannot be read, or has changed.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        files = find_model(where.model)
        names: list[PartName] = ["train", "validation", "test"] if test else ["train", "validation"]
        check_kind(files, task.kind)
        raw = load_parts(task, where.data, names)
        reader = load_reader(files, task.kind)
        parts = {name: encode_part(reader, task, name, part) for name, part in raw.items()}
        model = load_backbone(files, task.kind, quantisation)
        keeps_packing(model)
        if task.head == "pooler" and getattr(model, "pooler", None) is None:
            raise BackboneError(
                f"the model {where.model!r} has no trained pooler: take the head 'mean' or 'cls'"
            )
        return cls(task, backbone, model, parts, shelf, room=room)

    @property
    def module(self) -> Any:
        """The backbone itself, without a head."""
        return self._model

    @property
    def whole(self) -> Any:
        """The model as it was loaded, with a head of its own where it has one."""
        return self._whole

    @property
    def backbone(self) -> Backbone:
        """The shape of the backbone."""
        return self._backbone

    def lane(self) -> "Trainer":
        """Return a trainer of the same weights and data whose model has modules of its own."""
        whole, room = lane_of(self._whole), Room(alone=False)
        return Trainer(self._task, self._backbone, whole, self.parts, self._shelf, room=room)

    @property
    def blocks(self) -> tuple[nn.Module, ...]:
        """The modules of the backbone's blocks, in the order of a configuration's rows."""
        return blocks_of(self._model, self._backbone)

    @contextmanager
    def tuned(
        self, slots: Sequence[Slot], configuration: Configuration, recipe: Recipe, seed: int
    ) -> Iterator[Tuned]:
        """Put a configuration and a fresh head in place for the time of a ``with`` block."""
        generator = torch.Generator().manual_seed(seed)
        with (
            dropout(self._whole, recipe.dropout),
            injected(
                self._model,
                self._backbone,
                slots,
                configuration,
                recipe.scales,
                generator,
                recipe.rank_scaling,
                recipe.gate_mean,
            ) as injection,
        ):
            model = model_for(self._task, self._whole, self.parts["train"], generator)
            yield Tuned(model=model, injection=injection, recipe=recipe, room=self.room)

    def measure(
        self,
        tuned: Tuned,
        seed: int,
        fidelity: Fidelity,
        *,
        paused: Paused | None = None,
        objectives: Sequence[Objective] = (),
        course: LongCourse | None = None,
    ) -> Iterator[float | Measurement]:
        """Train, yielding progress in [0, 1], then score on the validation part.

        Where training has been ``paused`` it goes on from there, and pauses there again unless the
        fidelity is whole; the result is the same as without. Of the ``objectives`` those are
        measured too that training does not give. A ``course`` goes along with a long training.

        Raises:
            DivergedError: The loss or the scores stopped being finite numbers.
        """
        began = time.perf_counter()
        train, validation = self.parts["train"], self.parts["validation"]
        above = yield from self._above_trunk(tuned, alone=course is None)
        steps = max(1, round(steps_of(len(train), tuned.recipe) * fidelity.share))
        injection = tuned.injection
        with ExitStack() as undo:
            undo.enter_context(torch.random.fork_rng(devices=[]))
            torch.manual_seed(seed)  # for dropout, which takes no generator
            choose_masks(tuned.model, injection, train, seed)
            kept = paused if injection.resumable else None
            optimizer = optimizer_of(tuned.model, tuned.recipe, injection.by_method())
            done = kept.load(optimizer) if kept else 0
            if course:
                done = course.begin(tuned, optimizer, self._task, self.parts)
            pace = undo.enter_context(self.room.training(self.work(tuned, above)))
            ran: set[str] = set()
            taken = fit(
                above["train"], train, tuned.recipe, injection.by_method(), steps=steps,
                rng=np.random.default_rng(seed), penalty=injection.penalty,
                stepped=injection.stepped, optimizer=optimizer, done=done, course=course,
                pace=pace,
            )  # fmt: skip
            for done in _watched(taken, ran):
                yield done / steps
            if kept:
                kept.forget() if fidelity.whole else kept.save(optimizer, done)
            if course:
                course.settle()
        predictions, loss = self.room.scored(
            partial(predict, above["validation"], validation, tuned.recipe)
        )
        ran.update(operators_in(partial(tuned.model.judge, validation.batch([0]))))
        costs = costs_of(tuned.model, injection, train, validation, tuned.recipe, objectives)
        truth = validation.truth.astype(np.float64)
        yield Measurement(
            score=METRICS[self._task.metric].score(truth, predictions.astype(np.float64)),
            loss=loss,
            parameters=injection.count(),
            head_parameters=sum(p.numel() for p in tuned.model.head().values()),
            scaffold_parameters=sum(p.numel() for p in injection.scaffold()),
            steps=done,
            seconds=time.perf_counter() - began,
            share=fidelity.share,
            **costs,
            operators=tuple(sorted(ran)),
            predictions=predictions.tobytes(),
        )

    def roomy(self, recipe: Recipe, beside: int = 0) -> bool:
        """Tell whether memory is no matter: for a step, and so many numbers more in each block."""
        block = VECTORS * NUMBER_BYTES * self._backbone.blocks
        return self.room.ample(self._most(recipe) + block * beside)

    def _most(self, recipe: Recipe) -> float:
        head = self._whole.get_output_embeddings() if self._task.head == "lm" else None
        words = 0 if head is None else len(head.weight)
        return bytes_at_most(self._backbone, self.parts, recipe, words)

    def work(self, tuned: Tuned, above: Mapping[PartName, TaskModel] | None = None) -> Work:
        """Return what a step takes memory for; ``above`` are models on kept lower blocks."""
        return Work(
            model=above["train"] if above else tuned.model,
            train=self.parts["train"],
            judged=above["validation"] if above else tuned.model,
            validation=self.parts["validation"],
            blocks=self.blocks,
            injection=tuned.injection,
            recipe=tuned.recipe,
            most=self._most(tuned.recipe),
        )

    def _above_trunk(
        self, tuned: Tuned, *, alone: bool
    ) -> Generator[float, None, Mapping[PartName, TaskModel]]:
        """Return the model for each part, on kept lower blocks where it can go on from there."""
        if self.trunk is None or not alone:
            return {"train": tuned.model, "validation": tuned.model}
        lowest = min((row for row, _ in tuned.injection.cells()), default=self._backbone.blocks)
        return (yield from self.trunk.above(tuned.model, tuned.recipe, lowest))


def _watched(taken: Iterator[int], ran: set[str]) -> Iterator[int]:
    """Take all steps, and add to ``ran`` the operators of the first."""
    first: list[int] = []
    ran.update(operators_in(lambda: first.extend(islice(taken, 1))))
    yield from first
    yield from taken
