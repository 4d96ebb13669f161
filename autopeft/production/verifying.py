"""Hold what lies in a directory against the plan that it is said to come from."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from autopeft.errors import AutopeftError, PlanError
from autopeft.plan import FILE, Plan, read_plan
from autopeft.production.adapters import adapter_of, kind_of, scale
from autopeft.production.applying import applied, apply
from autopeft.production.fitting import transformer_of
from autopeft.production.heads import check_weights, model_for
from autopeft.production.opening import open_trained, transformer_in
from autopeft.production.prompts import KINDS, probed
from autopeft.production.reading import WEIGHTS, check_fit, read_weights
from autopeft.production.terms import cells_of
from autopeft.training.model_files import find_model
from autopeft.training.probe import apart, numbers_of

_ADAPTER_CONFIG = "adapter_config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at, whether it is as the plan says, and what was found."""

    what: str
    right: bool
    found: str


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
    yield _tried("backbone", lambda: _backbone(plan, model))
    yield from looks(plan, folder, model)


def _copy(plan: Plan, folder: Path) -> Finding:
    def look() -> str:
        if not (folder / FILE).is_file():
            return "no plan lies beside it; autopeft export and autopeft train put one there"
        copy = read_plan(folder / FILE)
        named = copy.exported.plan if copy.exported else copy.digest
        if named != plan.digest:
            raise PlanError(
                f"the plan in {folder} is {named[:12]}, and this one is {plan.digest[:12]}"
            )
        return plan.digest[:12]

    return _tried("plan digest", look)


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

    yield _tried("weights", weights)
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

    yield _tried("shapes", shapes)
    yield _counted("trained parameters", plan.parameters, held.injection.count())
    trained = sum(p.numel() for p in fresh.parameters() if p.requires_grad)
    scaffold = sum(p.numel() for p in held.injection.scaffold())
    head = sum(p.numel() for p in held.head.values())
    yield _counted("trainable set", plan.parameters + head, trained - scaffold)
    if opened.weights.says.get("class", "Headed") == "Headed":
        yield _counted("head parameters", plan.head_parameters, head)
    yield Finding(what="scales", right=True, found=_scales(plan))

    def probe() -> str:
        known = json.loads(opened.weights.says.get("probe", "[]"))
        found = numbers_of(applied(opened.trained()).base)
        return _probed(known or found, found) if known else "nothing recorded to compare with"

    yield _tried("probe", probe)


def _of_peft(plan: Plan, folder: Path, model: str | None) -> Iterator[Finding]:
    from autopeft.production.peft_format import read_peft

    try:
        plain = model_for(plan, model)
        whole = transformer_in(plain)
        tuned = read_peft(whole, folder)
    except (AutopeftError, ValueError, RuntimeError, OSError) as error:
        yield Finding(what="adapter", right=False, found=str(error))
        return
    config = json.loads((folder / _ADAPTER_CONFIG).read_text("utf-8"))
    yield Finding(what="adapter", right=True, found=f"peft {config['peft_type']}")
    plan_kind = kind_of(plan)
    if config["peft_type"] == plan_kind == "LORA":
        yield from _ranks_and_scales(plan, tuned)
    if plan_kind in KINDS.values() and config["peft_type"] == plan_kind:
        own = ("prompt_encoder.", "adaption_")
        there = sum(p.numel() for n, p in tuned.named_parameters() if any(o in n for o in own))
        yield _counted("parameters", plan.parameters, there)
    yield _tried("probe", lambda: _probe_of_copy(folder, probed(plan, tuned)))


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

    try:
        whole = load_backbone(find_model(str(folder)), plan.task.kind)
        base = transformer_of(plan, whole)
    except AutopeftError as error:
        yield Finding(what="model", right=False, found=str(error))
        return
    spoiled = [n for n, p in base.named_parameters() if not bool(torch.isfinite(p).all())]
    yield Finding(
        what="weights", right=not spoiled, found=f"{spoiled[0]} is spoiled" if spoiled else "finite"
    )
    yield _counted(
        "parameters", plan.backbone.parameters, sum(p.numel() for p in base.parameters())
    )
    yield _tried("probe", lambda: _probe_of_copy(folder, base))


def _probe_of_copy(folder: Path, base: Any) -> str:
    if not (folder / FILE).is_file():
        return "nothing recorded to compare with: no plan lies beside it"
    exported = read_plan(folder / FILE).exported
    if exported is None:
        raise PlanError("the plan beside it does not say what the model gave when it was exported")
    return _probed(exported.probe, numbers_of(base))


def _probed(known: Any, found: Any) -> str:
    if (far := apart(known, found)) is not None:
        raise PlanError(f"what the model gives differs by {far:.2g} from what was recorded")
    return f"{len(found)} numbers as recorded"


def _counted(what: str, planned: int, found: int) -> Finding:
    said = f"{found:,}" if planned == found else f"{found:,}, and the plan says {planned:,}"
    return Finding(what=what, right=planned == found, found=said)


def _scales(plan: Plan) -> str:
    found = {f"{cell.slot.method} {scale(plan, cell):g}" for cell in cells_of(plan)}
    return ", ".join(sorted(found))


def _tried(what: str, look: Any) -> Finding:
    try:
        return Finding(what=what, right=True, found=str(look()))
    except AutopeftError as error:
        return Finding(what=what, right=False, found=str(error))
