"""A plan for a larger or smaller model of the same family than the one that was searched on."""

from dataclasses import replace
from datetime import UTC, datetime

from autopeft.budget import Budget
from autopeft.errors import BudgetError, PlanError, SpaceError
from autopeft.plan import Plan
from autopeft.study import Where
from autopeft.training.model_files import find_model
from autopeft.training.shape import read_backbone
from autopeft.training.towers import tower_of


def transfer(plan: Plan, to: str, *, budget: str | None = None) -> Plan:
    """Return the plan for another model: a directory, ``package:NAME`` or a hub id.

    It is marked as ``transferred``, and promises no score: nothing was measured on that model.
    The budget stays as it was written, a share of the new model or a count, unless one is given.

    Raises:
        PlanError: The model is of another family, lacks a place that the plan uses, or nothing of
            the plan fits into the budget.
        BackboneError: The model cannot be used.
        BudgetError: The budget cannot be read.
    """
    text = plan.provenance.budget if budget is None else budget
    limit = Budget.parse(text)
    backbone = tower_of(read_backbone(find_model(to)), plan.task.kind)
    try:
        moved = plan.transfer(
            to=backbone,
            budget=limit,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
    except (SpaceError, BudgetError) as error:
        raise PlanError(str(error)) from None
    return replace(moved, where=Where(model=to, data=plan.where.data))
