"""Save what was trained from a plan, and load it into a fresh model."""

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import save as serialized
from torch import Tensor, nn

from autopeft.errors import PlanError
from autopeft.files import writable_folder, write_bytes, write_json
from autopeft.plan import FILE, Plan, read_plan
from autopeft.production.applying import Applied, applied, apply, holder, remove
from autopeft.production.heads import Headed
from autopeft.production.reading import (
    HEAD,
    WEIGHTS,
    Weights,
    check_fit,
    check_numbers,
    digest_of,
    read_weights,
)
from autopeft.training.fingerprint import is_other
from autopeft.training.held import held_in
from autopeft.training.probe import numbers_of

Model = TypeVar("Model", bound=nn.Module)


def save(model: nn.Module, folder: str | Path) -> Path:
    """Write what was trained into a directory: adapter.safetensors, and plan.json beside it.

    Only the plan's parameters and the head are written. Returns the directory.

    Raises:
        PlanError: There is no plan in the model, its values are no finite numbers, or others have
            been put in their place.
        OutputError: The files cannot be written.
    """
    held, folder = applied(model), Path(folder)
    _check_whole(model, held)
    tensors = _kept(held)
    check_numbers(tensors, "what was trained")
    outer = holder(model)
    says = {
        "format": "autopeft/1",
        "plan": held.plan.digest,
        "backbone": held.fingerprint,
        "class": type(outer).__name__,
        "values": digest_of(tensors),
    }
    if (kind := held_in(held.base)) == "float32":
        says["probe"] = json.dumps(numbers_of(held.base))
    else:
        says["held"] = kind
    if isinstance(outer, Headed):
        says["labels"] = json.dumps([float(outer.mean), float(outer.spread)])
    writable_folder(folder)
    write_bytes(folder / WEIGHTS, serialized(tensors, says))
    write_json(folder / FILE, held.plan.to_json())
    return folder


def load(model: Model, folder: str | Path, *, head: bool = True) -> Model:
    """Put saved weights into a model, and their plan if it is not in there yet; return the model.

    Only the directory's own two files are read. Without ``head`` that of the model stays as it is.
    The model is unchanged where anything is refused.

    Raises:
        PlanError: The weights belong to another plan or another backbone, are incomplete, or hold
            what is no number; the cell is named.
    """
    folder = Path(folder)
    weights, plan = read_weights(folder), read_plan(folder / FILE)
    if weights.says.get("plan", plan.digest) != plan.digest:
        raise PlanError(
            f"the weights in {folder} were trained from another plan "
            f"({weights.says['plan'][:12]}) than the one beside them ({plan.digest[:12]}): put the "
            "plan back that was saved with them"
        )
    scale = _check_words(weights)
    whole = holder(model)
    fresh = "autopeft" not in vars(whole)
    held = applied(apply(plan, whole)) if fresh else applied(whole)
    try:
        _check_plan(held, plan)
        _take(held, weights, head=head)
        if head and isinstance(whole, Headed) and scale:
            mean, spread = scale
            whole.mean.fill_(mean)
            whole.spread.fill_(spread)
    except BaseException:
        if fresh:
            remove(whole)
        raise
    return model


def _check_words(weights: Weights) -> list[float]:
    """Refuse weights that say of their backbone or labels what cannot be read; return the scale."""
    try:
        known = json.loads(weights.says.get("backbone", "{}"))
        numbers = [float(n) for some in known.values() for n in some]
        scale = [float(number) for number in json.loads(weights.says.get("labels", "[]"))]
    except (ValueError, TypeError, AttributeError) as error:
        raise _unreadable(weights, str(error)) from None
    if len(scale) not in {0, 2} or not all(map(isfinite, [*numbers, *scale])):
        raise _unreadable(weights, "numbers are missing or not finite")
    return scale


def _unreadable(weights: Weights, why: str) -> PlanError:
    return PlanError(
        f"{weights.file} says of itself what cannot be read ({why}): it was changed after it was "
        "written; give weights as autopeft.save or autopeft train left them"
    )


def _check_whole(model: nn.Module, held: Applied) -> None:
    there = {id(parameter) for parameter in model.parameters()}
    trained = {**held.injection.named(), **held.head}
    if lost := next((name for name, p in trained.items() if id(p) not in there), None):
        raise PlanError(
            f"{lost} is no longer in the model: FSDP has put a part in its place; leave whole "
            "what is trained, with fully_shard(block, ignored_params={p for p in "
            "model.parameters() if p.requires_grad}), and sum its gradients"
        )


def _check_plan(held: Applied, plan: Plan) -> None:
    if held.plan.digest != plan.digest:
        raise PlanError(
            "the model has another plan in it than the weights: call autopeft.remove(model) first"
        )


def _take(held: Applied, weights: Weights, *, head: bool) -> None:
    where = str(weights.file)
    known = weights.says.get("backbone", "{}")
    if tensor := is_other(known, held.fingerprint):
        raise PlanError(
            f"the weights in {where} were trained on another backbone: its {tensor} differs; give "
            f"{held.plan.backbone.name} with the weights that the plan was trained on"
        )
    check_fit(weights.methods, held.injection.state(), where)
    if head:
        _check_head(weights, {**held.head, **held.beside})
    held.injection.load(weights.methods)
    if head:
        with torch.no_grad():
            for name, parameter in {**held.head, **held.beside}.items():
                parameter.copy_(weights.head[name])


def _check_head(weights: Weights, head: Mapping[str, Tensor]) -> None:
    if set(weights.head) == set(head):
        named = {f"{HEAD}{name}": tensor for name, tensor in head.items()}
        found = {f"{HEAD}{name}": tensor for name, tensor in weights.head.items()}
        check_fit(found, named, str(weights.file))
        return
    brought, has = ", ".join(weights.head) or "none", ", ".join(head) or "none"
    raise PlanError(
        f"{weights.file} brings another head ({brought}) than the model has ({has}): give the "
        "model that it was trained in, take autopeft.model_for(plan), or leave the model's own "
        "head with head=False"
    )


def _kept(held: Applied) -> dict[str, Tensor]:
    tensors, head = dict(held.injection.state()), {**held.head, **held.beside}
    tensors |= {f"{HEAD}{name}": value.detach() for name, value in head.items()}
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
