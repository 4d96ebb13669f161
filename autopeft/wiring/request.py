"""What a user asks for, and the study that it makes."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from autopeft.backbone import Backbone
from autopeft.budget import Budget
from autopeft.errors import OptionError
from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.configuration import Slot
from autopeft.search_spaces.space import SearchSpace
from autopeft.search_spaces.written.laying import SpaceText
from autopeft.search_spaces.written.reading import parse_space, read_space
from autopeft.study import DataFiles, Head, LossOn, Metric, Study, Task, TaskKind, Where
from autopeft.trial import GateMean, Precision, RankScaling, Recipe
from autopeft.wiring.aims import check_rungs, objectives_of, rungs_of
from autopeft.wiring.strategies import check_space, options_of

if TYPE_CHECKING:
    from autopeft.training.model_files import ModelFiles

SPACE_TEXT = "space_yaml"
"""What a space is called that came with a request and has no name of its own."""
_LEAST_TOKENS = 8
_WORTH = 1.3
"""What bf16 must gain in a product of matrices; it costs rounding and conversions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a user asks for, as text and numbers; ``study_of`` makes a study of it.

    ``space_text`` is a space as YAML, in place of the one that ``space`` names.
    """

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
    rank_scaling: RankScaling = "constant"
    gate_mean: GateMean = "mask"
    text: str | None = None
    pair: str | None = None
    label: str | None = None
    split: str | None = None
    kind: TaskKind | None = None
    metric: Metric | None = None
    head: Head | None = None
    loss: LossOn = "completion"
    options: tuple[str, ...] = ()
    objective: str = "score"
    rungs: str | None = None
    warm_start: str = "none"
    space_text: str | None = None

    @property
    def where(self) -> Where:
        """Where this machine finds model and data, from whatever folder it is asked."""
        files = (self.data.train, self.data.validation, self.data.test)
        train, validation, test = (_absolute(file) if file else None for file in files)
        data = DataFiles(train=train or "", validation=validation, test=test)
        return Where(model=self.model, data=data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What is the same for every configuration: the model, and what it is to learn."""

    files: "ModelFiles"
    backbone: Backbone
    task: Task


def study_of(request: Request) -> Study:
    """Read model shape, data, space and budget, and refuse what cannot be searched.

    Cheap checks come first, so that a mistyped name does not wait for a model to be read.

    Raises:
        AutopeftError: Any of it cannot be used; the class and the message say what.
    """
    budget, text = Budget.parse(request.budget), space_of(request)
    options = options_of(request.strategy, request.options)
    objectives = objectives_of(request.objective)
    check_rungs(request.rungs)
    ground = ground_of(request)
    backbone = ground.backbone
    ceiling = budget.ceiling(backbone.parameters)
    space = text.on(backbone, ceiling)
    space.must_fit(ceiling, backbone.parameters)
    check_space(request.strategy, options, space)
    task = with_room(ground, _prompts_in(space, ceiling))
    return Study(
        task=task,
        backbone=backbone,
        space=space,
        budget=budget,
        strategy=request.strategy,
        seed=request.seed,
        recipe=recipe_of(request),
        finals=request.finals,
        where=request.where,
        objectives=objectives,
        rungs=rungs_of(request.rungs, request.strategy, _steps_of(request, task)),
        options=options,
    )


def space_of(request: Request) -> SpaceText:
    """Find the space that is named, or read the one that is written in the request.

    Raises:
        SpaceError: There is no such space, or it is malformed.
    """
    if request.space_text is None:
        return read_space(request.space)
    return parse_space(request.space_text, SPACE_TEXT)


def _steps_of(request: Request, task: Task) -> int:
    return math.ceil(task.examples[0] / request.batch_size) * request.epochs


def ground_of(request: Request) -> Ground:
    """Read the model's shape and the data, and refuse a model that cannot do the task.

    Of a model with two towers only the one that sees the data can be searched.

    Raises:
        AutopeftError: Model or data cannot be used.
    """
    from autopeft.training.model_files import default_head, find_model
    from autopeft.training.pretrained import check_kind
    from autopeft.training.shape import read_backbone
    from autopeft.training.towers import tower_of

    files = find_model(request.model)
    task = _task_of(request, default_head(files))
    check_kind(files, task.kind)
    return Ground(files=files, backbone=tower_of(read_backbone(files), task.kind), task=task)


def with_room(ground: Ground, prompts: int) -> Task:
    """Cut texts so that ``prompts`` learned vectors in front of them have positions too.

    All trials of a study see the same texts, so the largest prompts of the space decide.

    Raises:
        OptionError: Hardly a position would be left for the texts.
    """
    from autopeft.training.pretrained import positions_of

    task = ground.task
    positions = positions_of(ground.files) if prompts and task.kind != "image" else None
    if positions is None or task.max_length + prompts <= positions:
        return task
    if positions - prompts < _LEAST_TOKENS:
        raise OptionError(
            f"up to {prompts} prompts in front of a text leave {max(0, positions - prompts)} of "
            f"the model's {positions} positions for the text itself, which needs {_LEAST_TOKENS}: "
            "allow fewer, or leave prompt_tuning, p_tuning and cpt out"
        )
    return replace(task, max_length=positions - prompts)


def prompts_of(slots: Iterable[Slot], sizes: Iterable[int]) -> int:
    """Add up the sizes of the slots that put something in front of what the model reads."""
    return sum(size for slot, size in zip(slots, sizes, strict=True) if _is_prompt(slot))


def _prompts_in(space: SearchSpace, ceiling: int) -> int:
    """Find how many prompts a configuration of the space can have at most."""
    most = [0] * len(space.slots)
    for gene in space.genes:
        for _, column in gene.cells if gene.role == "size" else ():
            # where sizes follow from the budget, it is what limits them
            paid = ceiling // max(1, space.slots[column].unit)
            most[column] = max(most[column], min(paid, paid if gene.filled else gene.choices[-1]))
    return prompts_of(space.slots, most)


def _is_prompt(slot: Slot) -> bool:
    return slot.place == "embeddings" and METHODS[slot.method].size == "prompt length"


def recipe_of(request: Request) -> Recipe:
    """Gather what all trials train with; learning rates come later."""
    return Recipe(
        scales={name: m.scale for name, m in METHODS.items() if m.scale is not None},
        epochs=request.epochs,
        batch_size=request.batch_size,
        precision=request.precision or fastest_precision(),
        rank_scaling=request.rank_scaling,
        gate_mean=request.gate_mean,
    )


def fastest_precision() -> Precision:
    """Choose bf16 where this machine multiplies clearly faster in it, else single precision."""
    from autopeft.training.hardware import bf16_speedup

    return "bf16" if bf16_speedup() > _WORTH else "fp32"


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


def _absolute(file: str) -> str:
    return str(Path(file).expanduser().resolve())
