"""Train a plan: the chosen configuration from scratch, on all that the plan says."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from autopeft.answer import Interval
from autopeft.backbone import Backbone
from autopeft.errors import OptionError, PlanError
from autopeft.plan import Plan
from autopeft.records import digest
from autopeft.selection import bootstrap
from autopeft.study import DataFiles, Task, Where
from autopeft.tasks.metrics import METRICS
from autopeft.tasks.reading import read_task
from autopeft.training import checkpoint
from autopeft.training.course import How, LongCourse
from autopeft.training.fingerprint import fingerprint
from autopeft.training.heads.sequence import SequenceModel
from autopeft.training.held import Bits, quantisation
from autopeft.training.loop import DivergedError
from autopeft.training.memory import is_out_of_memory
from autopeft.training.model_files import find_model, first_line
from autopeft.training.probe import numbers_of
from autopeft.training.room import Room
from autopeft.training.shape import read_backbone
from autopeft.training.team import Team, team
from autopeft.training.towers import tower_of
from autopeft.training.trainer import Trainer, Tuned
from autopeft.trial import Fidelity, Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What training a plan gave.

    ``same_data`` tells whether the data is the plan's own, to the byte; only then should
    ``validation`` equal ``promised``, the score of the plan's trial; None where it has none.
    ``told`` is what a user may want to know of how it was trained.
    """

    metric: str
    validation: float
    promised: float | None
    test: Interval
    test_examples: int
    same_data: bool
    seed: int
    parameters: int
    head_parameters: int
    scaffold_parameters: int
    steps: int
    seconds: float
    operators: tuple[str, ...] = ()
    processes: int = 1
    sharded: bool = False
    told: tuple[str, ...] = ()


def train(
    plan: Plan, where: Where, out: Path, *, seed: int, threads: int | None, how: How | None = None
) -> Iterator[float | Outcome]:
    """Train a plan, yielding progress in [0, 1] and at last the outcome; weights go to ``out``.

    Several processes that were launched together share every batch, and the first of them writes.

    Raises:
        PlanError: The model or the labels are not those of the plan, training it diverges, or
            memory is short; or it cannot be trained in the way that is asked for.
        OutputError: The weights cannot be written.
    """
    how = how or How()
    if how.shard and how.quantise:
        raise OptionError(
            "--shard divides whole weights, not quantised ones: leave one of them out"
        )
    with _in_plain_words(), team(shards=how.shard) as together:
        yield from _trained(plan, where, out, seed, threads, how, together)


def _trained(  # noqa: PLR0917  # as above, and with whom
    plan: Plan, where: Where, out: Path, seed: int, threads: int | None, how: How, together: Team
) -> Iterator[float | Outcome]:
    task = task_for(plan, where.data)
    backbone = tower_of(read_backbone(find_model(where.model)), task.kind)
    if backbone.digest != plan.backbone.digest:
        raise PlanError(
            f"the model {where.model!r} does not have the weights that the plan was made for "
            f"({plan.backbone.name}, digest {plan.backbone.digest[:12]}): give that model"
        )
    if backbone.sites != plan.backbone.sites or backbone.stacks != plan.backbone.stacks:
        raise PlanError(
            f"the plan describes other sites than the model {where.model!r} has: it was edited by "
            "hand or made by another autopeft; export it again"
        )
    room = Room(how.memory, 1 / together.size, alone=not together.shards)
    bits = how.quantise
    packed = quantisation(bits, backbone, plan.slots, plan.configuration) if bits else None
    trainer = Trainer.open(
        task, backbone, where, test=True, threads=threads, room=room, quantisation=packed
    )
    known = fingerprint(trainer.module)
    with trainer.tuned(plan.slots, plan.configuration, plan.recipe, seed) as tuned:
        measured: Measurement | None = None
        course = LongCourse(
            how, out, digest([plan.digest, seed, task.digest]), together, trainer.blocks
        )
        for event in trainer.measure(tuned, seed, Fidelity(), course=course):
            if isinstance(event, Measurement):
                measured = event
            else:
                yield event
        if measured is None:
            raise RuntimeError("training ended without a measurement")
        test = trainer.parts["test"]
        predictions, _ = tuned.predict(test)
        truth, score = test.truth.astype(np.float64), METRICS[task.metric].score
        interval = bootstrap([predictions.astype(np.float64)], truth, score, seed)
        # last of all, so that whoever interrupts before this keeps nothing by halves
        says = {"backbone": known}
        says |= {"held": bits} if bits else {"probe": json.dumps(numbers_of(trainer.module))}
        says |= _scale(tuned)
        if together.rank == 0:
            checkpoint.save(tuned, out / "adapter.safetensors", plan.digest, says)
        course.forget()
    told = list(room.told)
    if bits and together.rank == 0:
        told.append(_unpacked(plan, task, backbone, where, out, bits))
    yield Outcome(
        metric=task.metric,
        validation=measured.score,
        promised=plan.expected.trial_score if plan.expected else None,
        test=interval,
        test_examples=len(test),
        same_data=task.digest == plan.task.digest,
        seed=seed,
        parameters=measured.parameters,
        head_parameters=measured.head_parameters,
        scaffold_parameters=measured.scaffold_parameters,
        steps=measured.steps,
        seconds=measured.seconds,
        operators=measured.operators,
        processes=together.size,
        sharded=together.shards,
        told=tuple(told),
    )


def _unpacked(  # noqa: PLR0917  # what is scored, where
    plan: Plan, task: Task, backbone: Backbone, where: Where, out: Path, bits: Bits
) -> str:
    """Score what was trained beside fewer bits on the model's own weights, and say how it does."""
    trainer = Trainer.open(task, backbone, where, test=True, threads=None)
    with trainer.tuned(plan.slots, plan.configuration, plan.recipe, plan.seed) as tuned:
        checkpoint.load(tuned, out / "adapter.safetensors")
        predictions, _ = tuned.predict(trainer.parts["test"])
    truth = trainer.parts["test"].truth.astype(np.float64)
    score = METRICS[task.metric].score(truth, predictions.astype(np.float64))
    return (
        f"trained beside {bits} weights, and scored with them; on the model's own weights, into "
        f"which it is loaded and merged, {task.metric} on test is {score:.4f}"
    )


def _scale(tuned: Tuned) -> dict[str, str]:
    """Return what brings a head's output back to the scale of the labels."""
    model = tuned.model
    if not isinstance(model, SequenceModel) or model.task.kind != "regression":
        return {}
    return {"labels": json.dumps([model.mean, model.spread])}


@contextmanager
def _in_plain_words() -> Iterator[None]:
    try:
        yield
    except DivergedError as error:
        raise PlanError(
            f"training the plan diverged: {error}; lower the learning rates in its recipe, "
            "or give another --seed"
        ) from None
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise PlanError(
            f"memory ran out while training the plan ({first_line(error)}): end other programs, "
            "lower batch_size in its recipe, or train it where there is more memory"
        ) from None


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
        loss=planned.loss,
        max_length=planned.max_length,
        seed=planned.split_seed,
    )
    if task.labels != planned.labels:
        raise PlanError(
            f"the labels of {data.train} are {', '.join(task.labels)}, but the plan was made for "
            f"{', '.join(planned.labels)}: give data with the same labels"
        )
    return replace(task, labels=planned.labels)
