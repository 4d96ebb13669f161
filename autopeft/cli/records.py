"""Options that belong together: commands that take the same ones name the same record."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

from autopeft.cli import options as opt

if TYPE_CHECKING:
    from autopeft.wiring.request import Request

_FEWEST_TOKENS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """Which model, and which data."""

    model: opt.ModelOption = None
    data: opt.DataOption = None
    validation: opt.ValidationOption = None
    test: opt.TestOption = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """What is learned from the data; a plan answers all of it."""

    text: opt.TextOption = None
    text_pair: opt.PairOption = None
    label: opt.LabelOption = None
    split: opt.SplitOption = None
    task: opt.KindOption = None
    metric: opt.MetricOption = None
    head: opt.HeadOption = None
    loss: opt.LossOption = None
    max_length: opt.LengthOption = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeOptions:
    """How it is trained; a plan answers all of it."""

    epochs: opt.EpochsOption = None
    batch_size: opt.BatchOption = None
    precision: opt.PrecisionOption = None
    rank_scaling: opt.ScalingOption = None
    gate_mean: opt.GateOption = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """What is searched over, and for how long."""

    budget: opt.BudgetOption = None
    space: opt.SpaceOption = None
    strategy: opt.StrategyOption = None
    option: opt.StrategyOptionsOption = None
    objective: opt.ObjectiveOption = None
    rungs: opt.RungsOption = None
    warm_start: opt.WarmStartOption = None
    trials: opt.TrialsOption = None
    time: opt.TimeOption = None
    finals: opt.FinalsOption = None
    seed: opt.SeedOption = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """On what a search runs, and where its results go."""

    executor: opt.ExecutorOption = None
    workers: opt.WorkersOption = None
    pack: opt.PackOption = None
    threads: opt.ThreadsOption = None
    memory: opt.MemoryOption = None
    store: opt.StoreOption = None
    out: opt.OutOption = None


def unfolded(command: Callable[..., None]) -> Callable[..., None]:
    """Show typer the fields of the records that a command takes as options of its own."""
    records: dict[str, Any] = {}
    shown: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if is_dataclass(parameter.annotation):
            records[name] = parameter.annotation
            shown += map(_option, fields(parameter.annotation))
        else:
            shown.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(command)
    def folding(**given: Any) -> None:
        for name, record in records.items():
            given[name] = record(**{field.name: given.pop(field.name) for field in fields(record)})
        command(**given)

    folding.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    return folding


def _option(field: Any) -> inspect.Parameter:
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type
    )


def request_of(
    source: SourceOptions, task: TaskOptions, recipe: RecipeOptions, search: SearchOptions
) -> "Request":
    """Gather what decides a study from options and settings.

    Raises:
        OptionError: No model or data is named anywhere, or a number is too small.
    """
    from autopeft.settings import settings
    from autopeft.wiring.request import Request

    chosen = settings(
        budget=search.budget,
        space=search.space,
        strategy=search.strategy,
        objective=search.objective,
        rungs=search.rungs,
        warm_start=search.warm_start,
        seed=search.seed,
        finals=search.finals,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        max_length=task.max_length,
    )
    return Request(
        model=opt.model_of(source.model),
        data=opt.data_of(source.data, source.validation, source.test),
        budget=chosen.budget,
        space=chosen.space,
        strategy=chosen.strategy,
        options=tuple(search.option or ()),
        objective=chosen.objective,
        rungs=chosen.rungs,
        warm_start=chosen.warm_start,
        seed=opt.count_of("--seed", chosen.seed, 0),
        epochs=opt.count_of("--epochs", chosen.epochs, 1),
        finals=opt.count_of("--finals", chosen.finals, 0),
        batch_size=opt.count_of("--batch-size", chosen.batch_size, 1),
        max_length=opt.count_of("--max-length", chosen.max_length, _FEWEST_TOKENS),
        precision=recipe.precision,
        rank_scaling=recipe.rank_scaling or "constant",
        gate_mean=recipe.gate_mean or "mask",
        text=task.text,
        pair=task.text_pair,
        label=task.label,
        split=task.split,
        kind=task.task,
        metric=task.metric,
        head=task.head,
        loss=task.loss or "completion",
    )
