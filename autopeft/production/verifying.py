"""Hold what lies in a directory against the plan that it is said to come from."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from autopeft.errors import AutopeftError, PlanError
from autopeft.plan import FILE, Plan, read_plan
from autopeft.production.adapters import adapter_of, kind_of
from autopeft.production.applying import applied, apply
from autopeft.production.fitting import transformer_of
from autopeft.production.heads import check_weights, model_for
from autopeft.production.opening import Opened, of_class, open_trained, transformer_in
from autopeft.production.prompts import KINDS, probed
from autopeft.production.reading import (
    WEIGHTS,
    check_files,
    check_fit,
    check_numbers,
    read_weights,
)
from autopeft.production.recorded import (
    NOTHING,
    Finding,
    NothingRecordedError,
    check_exported_files,
    check_probe,
    check_values,
    converted,
    counted,
    probe_of_copy,
    tried,
)
from autopeft.production.terms import cells_of
from autopeft.training.model_files import find_model
from autopeft.training.probe import numbers_of

_ADAPTER_CONFIG = "adapter_config.json"
_CLASSES = {
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
}
"""In what other programs train the kinds of task that `peft` names."""


def verify(plan: Plan, folder: Path, model: str | None = None) -> Iterator[Finding]:
    """Look at everything that a plan says of trained weights, in whatever form they lie there.

    Raises:
        PlanError: There is nothing in the directory that autopeft knows.
    """
    if (folder / WEIGHTS).is_file():
        looks = _own
    elif (folder / _ADAPTER_CONFIG).is_file():
        looks = _of_peft
    elif (folder / "config.json").is_file():
        looks = _merged
    else:
        raise PlanError(
            f"there are no trained weights in {folder}: give the directory that autopeft train, "
            f"autopeft.save or autopeft export has written (it holds {WEIGHTS}, {_ADAPTER_CONFIG} "
            "or config.json)"
        )
    yield _copy(plan, folder)
    yield tried("backbone", lambda: _backbone(plan, model))
    yield from looks(plan, folder, model)


def _copy(plan: Plan, folder: Path) -> Finding:
    def look() -> str:
        if not (folder / FILE).is_file():
            raise NothingRecordedError(
                "no plan lies beside it; autopeft export and autopeft train put one there"
            )
        copy = read_plan(folder / FILE)
        named = copy.exported.plan if copy.exported else copy.digest
        if named != plan.digest:
            raise PlanError(
                f"the plan in {folder} is {named[:12]}, and this one is {plan.digest[:12]}"
            )
        return plan.digest[:12]

    return tried("plan digest", look)


def _backbone(plan: Plan, model: str | None) -> str:
    files = find_model(model or plan.where.model)
    check_weights(plan, files)
    return f"{files.reference} {plan.backbone.digest[:12]}"


def _own(plan: Plan, folder: Path, model: str | None) -> Iterator[Finding]:
    def weights() -> str:
        says = read_weights(folder).says
        if says.get("plan") != plan.digest:
            raise PlanError(f"they were trained from the plan {says.get('plan', 'unknown')[:12]}")
        return "finite, and of this plan"

    yield tried("weights", weights)
    yield tried("values", lambda: check_values(read_weights(folder)))
    try:
        opened = open_trained(plan, folder, model)
        fresh = apply(plan, opened.plain())
    except AutopeftError as error:
        yield Finding(what="model", right=False, found=str(error))
        return
    held = applied(fresh)

    def shapes() -> str:
        check_fit(opened.weights.methods, held.injection.state(), str(folder))
        return f"{len(opened.weights.methods)} tensors"

    yield tried("shapes", shapes)
    yield counted("trained parameters", plan.parameters, held.injection.count())
    trained = sum(p.numel() for p in fresh.parameters() if p.requires_grad)
    scaffold = sum(p.numel() for p in held.injection.scaffold())
    head = sum(p.numel() for p in held.head.values())
    yield counted("trainable set", plan.parameters + head, trained - scaffold)
    if opened.weights.says.get("class", "Headed") == "Headed":
        yield counted("head parameters", plan.head_parameters, head)
    yield tried("probe", lambda: _probe_of_own(opened))


def _probe_of_own(opened: Opened) -> str:
    says = opened.weights.says
    if not (text := says.get("probe")):
        why = f": the model was held in {says['held']}" if "held" in says else ""
        raise NothingRecordedError(f"{NOTHING}{why}")
    try:
        known = [float(number) for number in json.loads(text)]
    except (ValueError, TypeError):
        raise PlanError(
            f"what was recorded is damaged: {text[:20]!r} is no list of numbers"
        ) from None
    return check_probe(known, numbers_of(applied(opened.trained()).base))


def _of_peft(plan: Plan, folder: Path, model: str | None) -> Iterator[Finding]:
    from autopeft.production.peft_format import read_peft

    yield tried("files", lambda: check_exported_files(folder))
    try:
        config = json.loads((folder / _ADAPTER_CONFIG).read_text("utf-8"))
        tuned = read_peft(_wrapped(plan, config, model), folder)
    except (AutopeftError, ValueError, RuntimeError, OSError) as error:
        yield Finding(what="adapter", right=False, found=str(error))
        return
    yield Finding(what="adapter", right=True, found=f"peft {config['peft_type']}")
    plan_kind, rank = kind_of(plan), converted(folder)
    if rank is not None:
        yield from _conversion(plan, tuned, rank)
    elif config["peft_type"] == plan_kind == "LORA":
        yield from _ranks_and_scales(plan, tuned)
    if plan_kind in KINDS.values() and config["peft_type"] == plan_kind:
        own = ("prompt_encoder.", "adaption_")
        there = sum(p.numel() for n, p in tuned.named_parameters() if any(o in n for o in own))
        yield counted("parameters", plan.parameters, there)
    yield tried("probe", lambda: probe_of_copy(folder, probed(plan, tuned)))


def _wrapped(plan: Plan, config: Any, model: str | None) -> Any:
    """Load what an adapter is for: the backbone alone, or the class that it was trained in."""
    plain = transformer_in(model_for(plan, model))
    mapping = config.get("auto_mapping") or {}
    name = mapping.get("base_model_class") or _CLASSES.get(config.get("task_type"), "")
    if name in {"", type(plain).__name__}:
        return plain
    if (whole := of_class(plan, find_model(model or plan.where.model), name)) is None:
        raise PlanError(f"the adapter is for a {name}, which transformers does not know")
    return whole


def _conversion(plan: Plan, tuned: Any, rank: int) -> Iterator[Finding]:
    """Hold the LoRA of a conversion against what was written: the plan has other cells."""
    layers = [m for m in transformer_of(plan, tuned).modules() if hasattr(m, "lora_A")]
    yield counted("largest rank", rank, max((m.r["default"] for m in layers), default=0))
    scales = {round(module.scaling["default"], 9) for module in layers}
    text = ", ".join(f"{value:g}" for value in sorted(scales))
    yield Finding(what="scales", right=scales == {1.0}, found=text or "none")


def _ranks_and_scales(plan: Plan, tuned: Any) -> Iterator[Finding]:
    """Compare modules, ranks and scales with what the plan's own cells come to."""
    values = {(c.block, c.slot.name): _empty(plan, c) for c in cells_of(plan)}
    wanted = adapter_of(plan, "LORA", values).products
    base = transformer_of(plan, tuned)
    found = {name: module for name, module in base.named_modules() if hasattr(module, "lora_A")}
    odd = sorted(set(found) ^ set(wanted))
    where = f"{odd[0]} is adapted in one of them only" if odd else f"{len(wanted)} modules"
    yield Finding(what="modules", right=not odd, found=where)
    wrong = [
        f"{name}: rank {found[name].r['default']}, planned {product.rank}"
        for name, product in wanted.items()
        if name in found and found[name].r["default"] != product.rank
    ]
    yield Finding(what="ranks", right=not wrong, found=wrong[0] if wrong else "as planned")
    scales = {round(module.scaling["default"], 9) for module in found.values()}
    planned = {round(product.scale, 9) for product in wanted.values()}
    # factors that differ from cell to cell lie in the weights, under one scale for all
    right = scales <= planned or not found
    text = ", ".join(f"{value:g}" for value in sorted(scales))
    yield Finding(what="scales", right=right, found=text or "none")


def _empty(plan: Plan, cell: Any) -> dict[str, torch.Tensor]:
    inputs, outputs, rank = cell.site.inputs, cell.site.outputs, cell.size
    return {
        "down": torch.zeros(rank, inputs), "up": torch.zeros(rank, outputs),
        "mixer": torch.zeros(rank, rank), "right": torch.zeros(rank, inputs),
        "left": torch.zeros(rank, outputs), "values": torch.zeros(rank),
        "magnitude": torch.zeros(outputs), "factors": torch.zeros(outputs),
        "bias": torch.zeros(outputs), "weight": torch.zeros(outputs),
        **{site.place: torch.zeros(site.outputs) for site in plan.backbone.sites},
    }  # fmt: skip


def _merged(plan: Plan, folder: Path, model: str | None) -> Iterator[Finding]:  # noqa: ARG001  # as the others
    from autopeft.training.pretrained import load_backbone

    yield tried("files", lambda: check_exported_files(folder))
    try:
        whole = load_backbone(find_model(str(folder)), plan.task.kind)
        base = transformer_of(plan, whole)
    except AutopeftError as error:
        yield Finding(what="model", right=False, found=str(error))
        return

    def weights() -> str:
        check_files(folder)
        check_numbers(dict(base.named_parameters()), str(folder))
        return "finite"

    yield tried("weights", weights)
    yield counted("parameters", plan.backbone.parameters, sum(p.numel() for p in base.parameters()))
    yield tried("probe", lambda: probe_of_copy(folder, base))
