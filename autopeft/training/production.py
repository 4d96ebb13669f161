"""Train a plan: the chosen configuration from scratch, on all that the plan says."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from autopeft.answer import Interval
from autopeft.errors import PlanError
from autopeft.plan import Plan
from autopeft.records import digest
from autopeft.selection import bootstrap
from autopeft.study import DataFiles, Task, Where
from autopeft.tasks.metrics import METRICS
from autopeft.tasks.reading import read_task
from autopeft.training import checkpoint
from autopeft.training.model_files import find_model
from autopeft.training.pretrained import read_backbone
from autopeft.training.trainer import Trainer
from autopeft.trial import Fidelity, Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What training a plan gave.

    ``same_data`` tells whether the data is the plan's own, to the byte; only then should
    ``validation`` equal ``promised``, the score of the plan's trial.
    """

    metric: str
    validation: float
    promised: float
    test: Interval
    test_examples: int
    same_data: bool
    seed: int
    parameters: int
    head_parameters: int
    steps: int
    seconds: float


def train(
    plan: Plan, where: Where, out: Path, *, seed: int, threads: int | None
) -> Iterator[float | Outcome]:
    """Train a plan, yielding progress in [0, 1] and at last the outcome; weights go to ``out``.

    Raises:
        PlanError: The model or the labels are not those of the plan.
    """
    task = task_for(plan, where.data)
    backbone = read_backbone(find_model(where.model))
    if backbone.digest != plan.backbone.digest:
        raise PlanError(
            f"the model {where.model!r} does not have the weights that the plan was made for "
            f"({plan.backbone.name}, digest {plan.backbone.digest[:12]}): give that model"
        )
    trainer = Trainer.open(task, backbone, where, test=True, threads=threads)
    with trainer.tuned(plan.slots, plan.configuration, plan.recipe, seed) as tuned:
        measured: Measurement | None = None
        for event in trainer.measure(tuned, seed, Fidelity()):
            if isinstance(event, Measurement):
                measured = event
            else:
                yield event
        if measured is None:
            raise RuntimeError("training ended without a measurement")
        test = trainer.parts["test"]
        predictions, _ = tuned.predict(test)
        checkpoint.save(tuned, out / "adapter.safetensors", digest(plan.to_json()))
    truth, score = test.labels.astype(np.float64), METRICS[task.metric].score
    yield Outcome(
        metric=task.metric,
        validation=measured.score,
        promised=plan.expected.trial_score,
        test=bootstrap([predictions.astype(np.float64)], truth, score, seed),
        test_examples=len(test),
        same_data=task.digest == plan.task.digest,
        seed=seed,
        parameters=measured.parameters,
        head_parameters=measured.head_parameters,
        steps=measured.steps,
        seconds=measured.seconds,
    )


def task_for(plan: Plan, data: DataFiles) -> Task:
    """Read the data as the plan reads it.

    Raises:
        PlanError: Its labels are not those of the plan.
    """
    planned, columns = plan.task, plan.task.columns
    task = read_task(
        data,
        text=columns.text,
        label=columns.label,
        pair=columns.pair,
        split=columns.split,
        kind=planned.kind,
        metric=planned.metric,
        head=planned.head,
        max_length=planned.max_length,
        seed=planned.split_seed,
    )
    if task.labels != planned.labels:
        raise PlanError(
            f"the labels of {data.train} are {', '.join(task.labels)}, but the plan was made for "
            f"{', '.join(planned.labels)}: give data with the same labels"
        )
    return replace(task, labels=planned.labels)
