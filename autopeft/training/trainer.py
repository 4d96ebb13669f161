"""A backbone and encoded data, resident in memory, on which configurations are trained."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from autopeft.backbone import Backbone
from autopeft.errors import BackboneError
from autopeft.methods.inject import Injection, injected
from autopeft.search_spaces.configuration import Configuration, Slot
from autopeft.study import Task, Where
from autopeft.tasks.metrics import METRICS
from autopeft.tasks.reading import load_parts
from autopeft.tasks.splits import PartName
from autopeft.training.batches import Encoded, encode
from autopeft.training.head import TaskModel
from autopeft.training.loop import dropout, fit, predict, steps_of
from autopeft.training.model_files import find_model
from autopeft.training.pretrained import load_backbone, load_tokenizer
from autopeft.trial import Fidelity, Measurement, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """A configuration inside the backbone, with a head, while it is trained and used."""

    model: TaskModel
    injection: Injection
    recipe: Recipe

    def predict(self, part: Encoded) -> tuple[NDArray[np.generic], float]:
        """Return the predictions of a part in its order, and its mean loss."""
        return predict(self.model, part, self.recipe)


class Trainer:
    """Trains configurations one after another on the same backbone and data."""

    def __init__(
        self, task: Task, backbone: Backbone, model: Any, parts: dict[str, Encoded]
    ) -> None:
        self.parts = parts
        self._task = task
        self._backbone = backbone
        self._model = model

    @classmethod
    def open(
        cls, task: Task, backbone: Backbone, where: Where, *, test: bool, threads: int | None
    ) -> "Trainer":
        """Load backbone, tokenizer and data; the test part only where it is asked for.

        Raises:
            BackboneError: The model cannot be used, or not with the task's head.
            DataError: The data cannot be read, or has changed.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        files = find_model(where.model)
        names: list[PartName] = ["train", "validation", "test"] if test else ["train", "validation"]
        raw = load_parts(task, where.data, names)
        tokenizer = load_tokenizer(files)
        parts = {name: encode(tokenizer, part, task.max_length) for name, part in raw.items()}
        model = load_backbone(files)
        if task.head == "pooler" and getattr(model, "pooler", None) is None:
            raise BackboneError(
                f"the model {where.model!r} has no trained pooler: take the head 'mean' or 'cls'"
            )
        return cls(task, backbone, model, parts)

    @contextmanager
    def tuned(
        self, slots: Sequence[Slot], configuration: Configuration, recipe: Recipe, seed: int
    ) -> Iterator[Tuned]:
        """Put a configuration and a fresh head in place for the time of a ``with`` block."""
        generator = torch.Generator().manual_seed(seed)
        with (
            dropout(self._model, recipe.dropout),
            injected(
                self._model, self._backbone, slots, configuration, recipe.scales, generator
            ) as injection,
        ):
            model = TaskModel(self._model, self._task, self.parts["train"], generator)
            yield Tuned(model=model, injection=injection, recipe=recipe)

    def measure(self, tuned: Tuned, seed: int, fidelity: Fidelity) -> Iterator[float | Measurement]:
        """Train, yielding progress in [0, 1], then score on the validation part.

        Raises:
            DivergedError: The loss or the scores stopped being finite numbers.
        """
        began = time.perf_counter()
        train, validation = self.parts["train"], self.parts["validation"]
        steps = max(1, round(steps_of(len(train), tuned.recipe) * fidelity.share))
        rng = np.random.default_rng(seed)
        trained = tuned.injection.by_method()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # for dropout, which takes no generator
            for step in fit(tuned.model, train, tuned.recipe, trained, steps=steps, rng=rng):
                yield step / steps
        predictions, loss = tuned.predict(validation)
        truth = validation.labels.astype(np.float64)
        yield Measurement(
            score=METRICS[self._task.metric].score(truth, predictions.astype(np.float64)),
            loss=loss,
            parameters=tuned.injection.count(),
            head_parameters=sum(p.numel() for p in tuned.model.head_parameters()),
            steps=steps,
            seconds=time.perf_counter() - began,
            predictions=predictions.tobytes(),
        )
