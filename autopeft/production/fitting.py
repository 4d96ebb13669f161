"""Which part of somebody's model a plan is for, and whether it is the one."""

from typing import Any

import torch
from torch import nn

from autopeft.backbone import Backbone
from autopeft.errors import BackboneError, PlanError
from autopeft.methods.precision import is_quantised
from autopeft.plan import Plan
from autopeft.training.held import at_odds, held_in
from autopeft.training.shape import architecture_for, shape_of
from autopeft.training.towers import tower_of

_KNOWN = {torch.float32, torch.bfloat16, torch.float16}
_HALF = dict.fromkeys(
    ("bfloat16", "float16"), "load the model with dtype=torch.float32, or leave the cell out"
)


def backbone_in(plan: Plan, model: nn.Module) -> Any:
    """Return the backbone inside a model: the model itself, what its head stands on, or a part.

    Raises:
        PlanError: There is none of the plan's architecture, it has another shape, or a precision
            that the methods cannot be trained in.
    """
    base = transformer_of(plan, model)
    _check_shape(plan, base)
    kinds = {p.dtype for p in base.parameters() if p.is_floating_point()}
    if other := kinds - _KNOWN:
        name = str(next(iter(other))).removeprefix("torch.")
        raise PlanError(
            f"the model's weights are {name}, and methods are trained beside float32, bfloat16 or "
            "float16 ones: load it with one of these as its dtype"
        )
    held = held_in(base)
    for cell, why, paths in at_odds(plan.backbone, plan.slots, plan.configuration, held):
        if held in _HALF or any(is_quantised(base.get_submodule(path)) for path in paths):
            remedy = _HALF.get(held) or f"llm_int8_skip_modules={list(paths)} leaves it as it is"
            raise PlanError(f"{cell} {why}, in a model held in {held}: {remedy}")
    return base


def transformer_of(plan: Plan, model: nn.Module) -> Any:
    """Return the backbone inside a model by its type alone, whatever has been put into it.

    Raises:
        PlanError: There is none of the plan's architecture.
    """
    from transformers import PreTrainedModel

    for part in model.modules():
        if (
            isinstance(part, PreTrainedModel)
            and part.config.model_type == plan.backbone.architecture
        ):
            return part.base_model
    raise PlanError(
        f"the plan is for a {plan.backbone.architecture} ({plan.backbone.name}), and there is "
        f"none in the {type(model).__name__}: give a model of transformers of that type"
    )


def _check_shape(plan: Plan, base: Any) -> None:
    try:
        name = plan.backbone.name
        shape = shape_of(base, architecture_for(base, name), name=name, digest="")
    except BackboneError as error:
        raise PlanError(f"the plan is for another model than this one: {error}") from None
    found = tower_of(shape, plan.task.kind)
    if found.stacks != plan.backbone.stacks:
        raise PlanError(
            f"the plan is for {_size(plan.backbone)}, and this {base.config.model_type} has "
            f"{_size(found)}: give {plan.backbone.name}"
        )
    there = {site.name: site for site in found.sites}
    for site in plan.backbone.sites:
        if there.get(site.name) != site:
            slots = [slot.name for slot in plan.slots if slot.site == site.name]
            raise PlanError(
                f"the plan is for a model whose {site.name} is another than this one's (it holds "
                f"{slots[0] if slots else 'no slot'}): give {plan.backbone.name}, or make the plan "
                "again with this autopeft"
            )


def _size(backbone: Backbone) -> str:
    return " and ".join(f"{s.blocks} blocks of width {s.width}" for s in backbone.stacks)
