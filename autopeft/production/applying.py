"""Put a plan into a model, for whatever loop trains it."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch
from torch import nn

from autopeft.errors import PlanError
from autopeft.methods.attending import ATTENTION
from autopeft.methods.inject import Injection, injected
from autopeft.methods.precision import HALVES, computes_in, is_quantised
from autopeft.plan import Plan, read_plan
from autopeft.production.fitting import backbone_in
from autopeft.production.heads import Headed
from autopeft.training.fingerprint import fingerprint
from autopeft.training.held import keeps_packing
from autopeft.training.interface import asks_transformers
from autopeft.training.loop import dropout

Model = TypeVar("Model", bound=nn.Module)
_HELD = "autopeft"
"""The attribute under which a model holds what was put into it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """A plan inside a model.

    ``base`` is the backbone in it. ``head`` are the trained parameters around the backbone, by
    their names in the model. ``beside`` is a pooler, which stays frozen but is kept with the head:
    not every file of weights has one. ``fingerprint`` names the backbone's weights.
    """

    plan: Plan
    base: Any
    injection: Injection
    head: Mapping[str, nn.Parameter]
    beside: Mapping[str, nn.Parameter]
    fingerprint: str
    undo: ExitStack

    def __deepcopy__(self, _memo: Any) -> NoReturn:
        raise PlanError(
            "a model with a plan in it cannot be copied: copy it before autopeft.apply, and apply "
            "the plan to each copy"
        )


def apply(plan: Plan | str | Path, model: Model, *, seed: int | None = None) -> Model:
    """Put a plan's methods into a model of transformers, or a module around one; return the model.

    Afterwards nothing has ``requires_grad`` but the plan's parameters and what stands around the
    backbone, such as a classifier; where the plan's task is a language model's, its own head stays
    frozen. Dropout is that of the plan's recipe. ``plan`` may be the path of a plan.json. ``seed``
    is what new values are drawn from, the plan's own unless another is given.

    Raises:
        PlanError: The model is another than the plan's, has a plan already, or holds its weights
            in a precision that a cell does not go with.
    """
    _apply(plan if isinstance(plan, Plan) else read_plan(plan), holder(model), seed)
    return model


def _apply(plan: Plan, model: nn.Module, seed: int | None) -> None:
    if _HELD in vars(model):
        raise PlanError("the model has a plan in it already: call autopeft.remove(model) first")
    base = backbone_in(plan, model)
    known = fingerprint(base)
    generator = torch.Generator().manual_seed(plan.seed if seed is None else seed)
    with ExitStack() as undo:
        _attend(plan, base, undo)
        undo.callback(keeps_packing(base))
        undo.enter_context(dropout(model, plan.recipe.dropout))
        undo.enter_context(_frozen(model))
        head = {} if plan.task.head == "lm" else _in_single(model, _around(model, base), undo)
        beside = _pooler(model, base) if head and not isinstance(model, Headed) else {}
        device = next(base.parameters()).device
        injection = undo.enter_context(
            injected(
                base, plan.backbone, plan.slots, plan.configuration, plan.recipe.scales, generator,
                plan.recipe.rank_scaling, plan.recipe.gate_mean,
            )
        )  # fmt: skip
        _move(base, device)
        for parameter in head.values():
            parameter.requires_grad_()
        held = Applied(
            plan=plan, base=base, injection=injection, head=head, beside=beside,
            fingerprint=known, undo=undo.pop_all(),
        )  # fmt: skip
    setattr(model, _HELD, held)


def holder(model: nn.Module) -> nn.Module:
    """Return the part of a model that holds a plan.

    Where none does, it is the model that is to hold one: what DDP, torch.compile or the like are
    wrapped around.
    """
    if found := next((part for part in model.modules() if _HELD in vars(part)), None):
        return found
    inner = model
    while not inner._parameters and set(inner._modules) in ({"module"}, {"_orig_mod"}):  # noqa: SLF001  # as wrappers call it
        (inner,) = inner.children()
    return inner


def applied(model: nn.Module) -> Applied:
    """Return the plan inside a model, also where DDP or the like is wrapped around it.

    Raises:
        PlanError: There is none.
    """
    held: Applied | None = vars(holder(model)).get(_HELD)
    if held is None:
        raise PlanError(
            f"there is no plan in this {type(model).__name__}: call autopeft.apply(plan, model)"
        )
    return held


def remove(model: Model) -> Model:
    """Take a plan out again: the model is what it was, and so is what of it can be trained.

    Raises:
        PlanError: There is none.
    """
    applied(model).undo.close()
    delattr(holder(model), _HELD)
    return model


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Return groups for an optimizer of torch, with the plan's learning rate for each method.

    Raises:
        PlanError: There is no plan in the model.
    """
    held = applied(model)
    recipe = held.plan.recipe
    groups: list[dict[str, Any]] = [
        {"name": method, "params": list(parameters), "lr": recipe.learning_rates[method]}
        for method, parameters in held.injection.by_method().items()
    ]
    if held.head:
        head = list(held.head.values())
        groups.append({"name": "head", "params": head, "lr": recipe.head_learning_rate})
    return [{**group, "weight_decay": recipe.weight_decay} for group in groups]


def choose_by(model: nn.Module, batches: Iterable[Mapping[str, Any]]) -> None:
    """Let methods that learn from the data what to train (FISH masks) do so, before training.

    ``batches`` are given to the model one by one, labels included; small ones tell most.
    Nothing happens where no method asks.

    Raises:
        PlanError: There is no plan in the model, or a batch gives no loss.
    """
    choices = applied(model).injection.choices()
    weights = list({id(choice.weight): choice.weight for choice in choices}.values())
    if not weights:
        return
    totals = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
    for weight in weights:
        weight.requires_grad_()
    for batch in batches:
        loss = getattr(model(**batch), "loss", None)
        if loss is None:
            raise PlanError("a batch gave no loss: give batches with their labels")
        squares = [found.float().square() for found in torch.autograd.grad(loss, weights)]
        totals = [total + square for total, square in zip(totals, squares, strict=True)]
    for weight in weights:
        weight.requires_grad_(False)  # as torch declares it
    for choice in choices:
        place = next(i for i, weight in enumerate(weights) if weight is choice.weight)
        choice.choose(totals[place])


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Freeze all parameters; in the end what could be trained before can be so again."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.requires_grad_(requires_grad=False)
    try:
        yield
    finally:
        for parameter, trainable in before:
            parameter.requires_grad_(trainable)


def _move(base: nn.Module, device: torch.device) -> None:
    """Bring what has been put into a model to where it is; quantised ones cannot be moved whole."""
    if device.type == "meta":
        return
    for module in base.modules():
        own = (*module.parameters(recurse=False), *module.buffers(recurse=False))
        if any(tensor.device != device for tensor in own):
            module._apply(lambda tensor: tensor.to(device), recurse=False)  # type: ignore[no-untyped-call]  # noqa: SLF001  # torch's `to`, of one module


def _attend(plan: Plan, base: Any, undo: ExitStack) -> None:
    """Let the model attend to prefixes, where the plan has something beside attention."""
    kinds = {site.name: site.kind for site in plan.backbone.sites}
    present = {
        slot.site
        for row in plan.configuration.sizes
        for slot, size in zip(plan.slots, row, strict=True)
        if size
    }
    if not any(kinds[site] == "attention" for site in present):
        return
    if any(map(asks_transformers, base.modules())):
        before = base.config._attn_implementation  # noqa: SLF001  # it has no other name
        base.set_attn_implementation(ATTENTION)
        undo.callback(base.set_attn_implementation, before)


def _around(model: nn.Module, base: nn.Module) -> dict[str, nn.Parameter]:
    """Return what a model has outside of its backbone, by name."""
    within = set(base.modules())
    for name, layer in model.named_modules():
        if layer not in within and is_quantised(layer):
            raise PlanError(
                f"the head {name} is quantised, and is to be trained: load the model with "
                f"llm_int8_skip_modules=[{name!r}]"
            )
    inside = {id(parameter) for parameter in base.parameters()}
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if id(parameter) not in inside and parameter.is_floating_point()
    }


def _in_single(
    model: nn.Module, head: dict[str, nn.Parameter], undo: ExitStack
) -> dict[str, nn.Parameter]:
    """Train a head of half precision in single; its values go back when the plan is removed."""
    return {name: _one_in_single(model, name, part, undo) for name, part in head.items()}


def _one_in_single(
    model: nn.Module, name: str, half: nn.Parameter, undo: ExitStack
) -> nn.Parameter:
    if half.dtype not in HALVES:
        return half
    path, _, part = name.rpartition(".")
    module, trained = model.get_submodule(path), nn.Parameter(half.detach().float())

    def put_back() -> None:
        with torch.no_grad():
            half.copy_(trained)
        setattr(module, part, half)

    setattr(module, part, trained)
    undo.callback(put_back)
    if not isinstance(module, Headed):  # whose scores are computed in single precision anyway
        undo.callback(computes_in(module, {part: trained}, half))
    return trained


def _pooler(model: nn.Module, base: Any) -> dict[str, nn.Parameter]:
    """Return the parameters of the backbone's own pooler, by their names in the model."""
    pooler = getattr(base, "pooler", None)
    known = set() if pooler is None else {id(parameter) for parameter in pooler.parameters()}
    return {name: p for name, p in model.named_parameters() if id(p) in known}
