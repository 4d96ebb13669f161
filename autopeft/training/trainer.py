"""A backbone and encoded data, resident in memory, on which configurations are trained."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
from autopeft.training.fisher import choose_masks
from autopeft.training.heads.choice import encode_part, model_for
from autopeft.training.heads.model import TaskModel
from autopeft.training.loop import Course, dropout, fit, optimizer_of, predict, steps_of
from autopeft.training.model_files import find_model
from autopeft.training.pausing import Paused
from autopeft.training.pretrained import check_kind, load_backbone, load_reader
from autopeft.trial import Fidelity, Measurement, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """A configuration inside the backbone, with a head, while it is trained and used."""

    model: TaskModel
    injection: Injection
    recipe: Recipe

    def predict(self, part: Examples) -> tuple[NDArray[np.generic], float]:
        """Return the predictions of a part in its order, and its mean loss."""
        return predict(self.model, part, self.recipe)


class LongCourse(Course, Protocol):
    """What follows the training of a plan from its beginning to its end; see `course`."""

    def begin(
        self, tuned: Tuned, optimizer: torch.optim.Optimizer, task: Task, parts: Mapping[Any, Any]
    ) -> int:
        """Take up what was kept, and return how many steps are done."""

    def settle(self) -> int | None:
        """Go back to the best step, where training may end early, and return it."""


class Trainer:
    """Trains configurations one after another on the same backbone and data."""

    def __init__(
        self, task: Task, backbone: Backbone, whole: Any, parts: dict[PartName, Examples]
    ) -> None:
        self.parts = parts
        self._task = task
        self._backbone = backbone
        self._whole = whole
        # A language model's own head is no part of the backbone, whose sites are counted from here.
        self._model = whole.base_model if task.head == "lm" else whole

    @classmethod
    def open(
        cls, task: Task, backbone: Backbone, where: Where, *, test: bool, threads: int | None
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
        model = load_backbone(files, task.kind)
        if task.head == "pooler" and getattr(model, "pooler", None) is None:
            raise BackboneError(
                f"the model {where.model!r} has no trained pooler: take the head 'mean' or 'cls'"
            )
        return cls(task, backbone, model, parts)

    @property
    def module(self) -> Any:
        """The backbone itself, without a head."""
        return self._model

    @property
    def blocks(self) -> tuple[nn.Module, ...]:
        """The modules of the backbone's blocks, in the order of a configuration's rows."""
        found = []
        for stack in self._backbone.stacks:
            inside = next(
                site.path.partition("{block}")[0]
                for site in self._backbone.sites
                if site.stack == stack.name and "{block}" in site.path
            )
            found += [self._model.get_submodule(f"{inside}{n}") for n in range(stack.blocks)]
        return tuple(found)

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
            yield Tuned(model=model, injection=injection, recipe=recipe)

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
        steps = max(1, round(steps_of(len(train), tuned.recipe) * fidelity.share))
        injection = tuned.injection
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # for dropout, which takes no generator
            choose_masks(tuned.model, injection, train, seed)
            kept = paused if injection.resumable else None
            optimizer = optimizer_of(tuned.model, tuned.recipe, injection.by_method())
            done = kept.load(optimizer) if kept else 0
            if course:
                done = course.begin(tuned, optimizer, self._task, self.parts)
            for step in fit(
                tuned.model, train, tuned.recipe, injection.by_method(), steps=steps,
                rng=np.random.default_rng(seed), penalty=injection.penalty,
                stepped=injection.stepped, optimizer=optimizer, done=done, course=course,
            ):  # fmt: skip
                done = step
                yield step / steps
            if kept:
                kept.forget() if fidelity.whole else kept.save(optimizer, done)
            if course:
                course.settle()
        predictions, loss = tuned.predict(validation)
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
            predictions=predictions.tobytes(),
        )
