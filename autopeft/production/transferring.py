"""A plan for a larger or smaller model of the same family than the one that was searched on."""

from dataclasses import replace
from datetime import UTC, datetime

from autopeft.budget import Budget
from autopeft.errors import BudgetError, PlanError, SpaceError
from autopeft.plan import Plan
from autopeft.search_spaces.catalog import METHODS
from autopeft.study import Where
from autopeft.training.model_files import find_model
from autopeft.training.pretrained import positions_of
from autopeft.training.shape import read_backbone
from autopeft.training.towers import tower_of

_LEAST_TOKENS = 8


def transfer(plan: Plan, to: str, *, budget: str | None = None) -> Plan:
    """Return the plan for another model: a directory, ``package:NAME`` or a hub id.

    It is marked as ``transferred``, and promises no score: nothing was measured on that model.
    The budget stays as it was written, a share of the new model or a count, unless one is given.
    Where the model has fewer positions than the plan's texts and prompts take, texts are cut to
    what is left; ``task.max_length`` says to how many tokens.

    Raises:
        PlanError: The model is of another family, lacks a place that the plan uses, nothing of
            the plan fits into the budget, or its prompts leave no positions for a text.
        BackboneError: The model cannot be used.
        BudgetError: The budget cannot be read.
    """
    text = plan.provenance.budget if budget is None else budget
    limit = Budget.parse(text)
    files = find_model(to)
    backbone = tower_of(read_backbone(files), plan.task.kind)
    try:
        moved = plan.transfer(
            to=backbone,
            budget=limit,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
    except (SpaceError, BudgetError) as error:
        raise PlanError(str(error)) from None
    positions = None if plan.task.kind == "image" else positions_of(files)
    task = replace(plan.task, max_length=_length(moved, positions))
    return replace(moved, task=task, where=Where(model=to, data=plan.where.data))


def _length(plan: Plan, positions: int | None) -> int:
    """Return to how many tokens texts are cut, beside the plan's prompts."""
    wanted = plan.task.max_length
    if positions is None:
        return wanted
    prompts = sum(
        size
        for slot, size in zip(plan.slots, plan.configuration.sizes[0], strict=True)
        if slot.place == "embeddings" and METHODS[slot.method].size == "prompt length"
    )
    if positions - prompts < _LEAST_TOKENS:
        raise PlanError(
            f"{plan.backbone.name} has {positions} positions, and the plan's {prompts} prompts "
            f"leave {max(0, positions - prompts)} of them for a text, which needs "
            f"{_LEAST_TOKENS}: give a smaller --budget, with which prompts shrink"
        )
    return min(wanted, positions - prompts)
