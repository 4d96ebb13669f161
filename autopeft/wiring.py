"""Which class fills which socket. Rooms are imported only when they are needed."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autopeft.answer import Answer
from autopeft.budget import Budget
from autopeft.errors import OptionError
from autopeft.plan import NAMED, VERSION, Expected, Plan, Provenance
from autopeft.ports import Evaluator, Executor, Store, Strategy
from autopeft.search import search
from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.written.reading import read_space
from autopeft.selection import answer as answer_of
from autopeft.study import DataFiles, Head, Limits, LossOn, Metric, Study, Task, TaskKind, Where
from autopeft.trial import Precision, Recipe, Trial

if TYPE_CHECKING:
    from autopeft.training.estimate import Estimate

STRATEGIES = {
    "tpe": "tree-structured Parzen estimators over sizes and learning rates (Optuna)",
    "random": "uniform draws within the budget",
}
EXECUTORS = {
    "inline": "one trial after another in this process",
    "ray": "several at once in Ray Tune actors, on this machine or a cluster",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a user asks for, as text and numbers; ``study_of`` makes a study of it."""

    model: str
    data: DataFiles
    budget: str
    space: str
    strategy: str
    seed: int
    epochs: int
    finals: int
    batch_size: int = 32
    max_length: int = 128
    precision: Precision | None = None
    text: str | None = None
    pair: str | None = None
    label: str | None = None
    split: str | None = None
    kind: TaskKind | None = None
    metric: Metric | None = None
    head: Head | None = None
    loss: LossOn = "completion"


def study_of(request: Request) -> Study:
    """Read model shape, data, space and budget, and refuse what cannot be searched.

    Cheap checks come first, so that a mistyped name does not wait for a model to be read.

    Raises:
        AutopeftError: Any of it cannot be used; the class and the message say what.
    """
    from autopeft.training.model_files import default_head, find_model
    from autopeft.training.pretrained import check_kind
    from autopeft.training.shape import read_backbone

    budget, text = Budget.parse(request.budget), read_space(request.space)
    _known("strategy", request.strategy, STRATEGIES)
    files = find_model(request.model)
    task = _task_of(request, default_head(files))
    check_kind(files, task.kind)
    backbone = read_backbone(files)
    ceiling = budget.ceiling(backbone.parameters)
    space = text.on(backbone, ceiling)
    space.must_fit(ceiling, backbone.parameters)
    return Study(
        task=task,
        backbone=backbone,
        space=space,
        budget=budget,
        strategy=request.strategy,
        seed=request.seed,
        recipe=_recipe_of(request),
        finals=request.finals,
        where=Where(model=request.model, data=_absolute(request.data)),
    )


def plan_of(request: Request, name: str) -> Plan:
    """Make a plan of a published configuration, without a study; nothing of it is measured.

    Where its sizes are fixed and no budget is named, there is none to keep.

    Raises:
        AutopeftError: There is no such configuration, it does not fit backbone or budget, or model
            or data cannot be used.
    """
    from autopeft.search_spaces.catalog import slots_of
    from autopeft.search_spaces.written.named import named_configuration
    from autopeft.strategies.recipes import default_recipe
    from autopeft.training.model_files import default_head, find_model
    from autopeft.training.pretrained import check_kind
    from autopeft.training.shape import read_backbone

    named = named_configuration(name)
    budget = Budget.parse(request.budget) if request.budget else None
    files = find_model(request.model)
    task = _task_of(request, default_head(files))
    check_kind(files, task.kind)
    backbone = read_backbone(files)
    ceiling = budget.ceiling(backbone.parameters) if budget else None
    slots = named.slots(slots_of(backbone))
    configuration = named.within(backbone, slots, ceiling)
    parameters = configuration.parameters(slots)
    return Plan(
        version=VERSION,
        backbone=backbone,
        task=task,
        where=Where(model=request.model, data=_absolute(request.data)),
        slots=slots,
        configuration=configuration,
        recipe=default_recipe(_recipe_of(request), configuration.methods(slots)),
        seed=request.seed,
        parameters=parameters,
        head_parameters=0 if task.head == "lm" else (backbone.width + 1) * task.outputs,
        expected=None,
        provenance=Provenance(
            study="",
            trial=0,
            strategy=NAMED,
            space=name,
            budget=budget.text if budget else str(parameters),
            ceiling=parameters if ceiling is None else ceiling,
            trials=0,
            verdict="not compared",
            versions=versions(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
    )


def _task_of(request: Request, usual_head: Head) -> Task:
    from autopeft.tasks.reading import read_task

    return read_task(
        request.data,
        text=request.text,
        label=request.label,
        pair=request.pair,
        split=request.split,
        kind=request.kind,
        metric=request.metric,
        head=request.head,
        usual_head=usual_head,
        loss=request.loss,
        max_length=request.max_length,
        seed=request.seed,
    )


def _recipe_of(request: Request) -> Recipe:
    return Recipe(
        scales={name: m.scale for name, m in METHODS.items() if m.scale is not None},
        epochs=request.epochs,
        batch_size=request.batch_size,
        precision=request.precision or fastest_precision(),
    )


def estimate_of(study: Study) -> "Estimate":
    """Measure on this machine what a trial of a study will cost."""
    from autopeft.training.estimate import estimate

    return estimate(study.task, study.backbone, study.where, study.recipe)


def strategy_of(study: Study) -> Strategy:
    """Build the strategy of a study, with the baselines before and between its proposals."""
    from autopeft.strategies.baselines import BaselinesFirst

    inner: Strategy
    if study.strategy == "random":
        from autopeft.strategies.random import RandomStrategy

        inner = RandomStrategy(study)
    elif study.strategy == "tpe":
        from autopeft.strategies.tpe import TpeStrategy

        inner = TpeStrategy(study)
    else:
        raise _unknown("strategy", study.strategy, STRATEGIES)
    return BaselinesFirst(study, inner)


def executor_of(name: str, workers: int) -> Executor:
    """Build an executor.

    Raises:
        OptionError: There is none of this name, or it cannot take so many workers.
    """
    _known("executor", name, EXECUTORS)
    if workers < 1:
        raise OptionError(f"--workers must be at least 1, not {workers}")
    if name == "ray":
        from autopeft.executors.ray import RayExecutor

        return RayExecutor(workers=workers)
    if workers > 1:
        raise OptionError(
            f"the executor 'inline' has one worker, not {workers}: add --executor ray"
        )
    from autopeft.executors.inline import InlineExecutor

    return InlineExecutor()


def evaluator_of(study: Study, workers: int, threads: int | None) -> Evaluator:
    """Build the evaluator; the cores are shared out among the workers."""
    from autopeft.evaluators.finetune import FinetuneEvaluator

    return FinetuneEvaluator(study, threads or max(1, (os.cpu_count() or 1) // workers))


def store_of(url: str) -> Store:
    """Open the store at a URL."""
    from autopeft.storage.sql import SqlStore

    return SqlStore(url)


def run(
    study: Study,
    limits: Limits,
    *,
    store: Store,
    executor: str = "inline",
    workers: int = 1,
    threads: int | None = None,
) -> Iterator[Trial]:
    """Run a study or go on with it, yielding every trial whenever it has changed."""
    chosen = executor_of(executor, workers)
    store.add_study(study)
    return search(
        study,
        limits,
        strategy=strategy_of(study),
        evaluator=evaluator_of(study, workers, threads),
        executor=chosen,
        store=store,
        clock=time.monotonic,
    )


def conclude(study: Study, store: Store) -> tuple[Answer, Plan]:
    """Compare the finalists, make the plan of the one that is recommended, and remember both.

    Raises:
        StudyError: No trial has been measured.
    """
    from autopeft.tasks.metrics import METRICS as TASK_METRICS
    from autopeft.tasks.reading import load_parts

    trials = store.trials(study.id)
    truth = load_parts(study.task, study.where.data, ["validation"])["validation"].truth
    score = TASK_METRICS[study.task.metric].score
    answer = answer_of(study, trials, truth.astype(np.float64), score)
    plan = _plan(study, trials, answer)
    store.save_answer(study.id, answer, plan)
    return answer, plan


def versions() -> dict[str, str]:
    """Name the versions of what a measurement depends on."""
    import platform

    names = ("autopeft", "torch", "transformers", "optuna", "numpy")
    return {"python": platform.python_version()} | {n: metadata.version(n) for n in names}


def fastest_precision() -> Precision:
    """Choose bf16 where the processor multiplies it in hardware, else single precision."""
    import torch

    capabilities = torch.cpu.get_capabilities()
    return "bf16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "fp32"


def _plan(study: Study, trials: tuple[Trial, ...], answer: Answer) -> Plan:
    chosen = next(trial for trial in trials if trial.number == answer.chosen)
    proposal, measured, finalist = chosen.proposal, chosen.measurement, answer.finalist
    if measured is None:
        raise ValueError("the chosen trial has no measurement")
    return Plan(
        version=VERSION,
        backbone=study.backbone,
        task=study.task,
        where=study.where,
        slots=study.space.slots,
        configuration=proposal.configuration,
        recipe=proposal.recipe,
        seed=proposal.seed,
        parameters=proposal.configuration.parameters(study.space.slots),
        head_parameters=measured.head_parameters,
        expected=Expected(
            metric=study.task.metric,
            trial_score=measured.score,
            interval=finalist.score,
            seeds=finalist.seeds,
        ),
        provenance=Provenance(
            study=study.id,
            trial=chosen.number,
            strategy=study.strategy,
            space=study.space.name,
            budget=study.budget.text,
            ceiling=study.ceiling,
            trials=answer.trials,
            verdict=answer.verdict,
            versions=versions(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
    )


def _absolute(data: DataFiles) -> DataFiles:
    def absolute(file: str | None) -> str | None:
        return None if file is None else str(Path(file).expanduser().resolve())

    return DataFiles(
        train=str(Path(data.train).expanduser().resolve()),
        validation=absolute(data.validation),
        test=absolute(data.test),
    )


def _known(what: str, name: str, known: dict[str, str]) -> None:
    if name not in known:
        raise _unknown(what, name, known)


def _unknown(what: str, name: str, known: dict[str, str]) -> OptionError:
    return OptionError(f"there is no {what} {name!r}: there are {', '.join(known)}")
