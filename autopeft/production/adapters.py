"""A plan's trained cells in the terms of the `peft` library, where it has terms for them.

The library knows one kind of adapter in a model. LoRA takes in all that is a low-rank product once
it is trained (LoRA-FA, DyLoRA, MoSLoRA, AdaLoRA), on whole matrices and on slices of fused ones,
where the rows of other slices are zeros; beside it, trained biases and whole copies of norms. DoRA
makes all of them DoRA: the others get the magnitude that they have.

Axes: I inputs, O outputs of the whole matrix, R rank.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from autopeft.methods.inject import divisor
from autopeft.plan import Plan
from autopeft.production import prompts
from autopeft.production.terms import Adapter, Cell, Kind, Product, Rescaling, Values, cells_of
from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.within import layers_within

Cells = Mapping[tuple[int, str], Values]
_PRODUCTS = {"lora", "lora_fa", "dylora", "moslora", "adalora", "dora"}
_COPIES = {"layer_norm", "ln_fit", "full"}


def kind_of(plan: Plan) -> Kind:
    """Choose the kind of adapter that holds most of a plan's cells."""
    methods = set(plan.configuration.methods(plan.slots))
    if methods & _PRODUCTS:
        return "LORA"
    kinds: dict[str, Kind] = {"ia3": "IA3", "loha": "LOHA", **prompts.KINDS}
    for method, kind in kinds.items():
        if method in methods:
            return kind
    return "LN_TUNING" if methods & _COPIES else "LORA"


def in_the_way(plan: Plan, kind: Kind) -> Iterator[str]:
    """Say of every cell that an adapter of a kind cannot hold, why not."""
    for cell in cells_of(plan):
        if why := _why_not(plan, cell, kind):
            yield f"{cell}: {why}"
    if same := [cell for cell in cells_of(plan) if prompts.KINDS.get(cell.slot.method) == kind]:
        yield from prompts.uneven(plan, same, kind)
    methods = set(plan.configuration.methods(plan.slots))
    if kind == "LORA" and "bitfit" in methods and not _PRODUCTS & methods:
        yield "the plan: peft saves biases only beside a LoRA, and there is none"


def _why_not(plan: Plan, cell: Cell, kind: Kind) -> str:
    method = cell.slot.method
    if method in _COPIES:
        return "" if kind in {"LORA", "LN_TUNING"} else f"peft has no {method} beside {kind}"
    if method == "bitfit" and kind == "LORA":
        whole = cell.site.bias or cell.site.kind == "block"
        return "" if whole else "the layer has no bias, and peft gives it none"
    if (kind == "LORA" and method in _PRODUCTS) or (kind == "IA3" and method == "ia3"):
        return ""
    if prompts.KINDS.get(method) == kind:
        return prompts.why_not(plan, cell)
    return _why_not_otherwise(plan, cell, kind)


def _why_not_otherwise(plan: Plan, cell: Cell, kind: Kind) -> str:
    method = cell.slot.method
    if kind == "LOHA" and method == "loha":
        plain = cell.site.start is None and plan.backbone.architecture != "gpt2"
        return "" if plain else "peft's LoHa knows whole nn.Linear layers only"
    if not METHODS[method].merges:
        return f"peft has nothing like it beside {kind} ({METHODS[method].merge})"
    return f"one adapter of peft is of one kind, here {kind}"


def adapter_of(plan: Plan, kind: Kind, cells: Cells) -> Adapter:
    """Put the trained values of a plan, all of which the kind can hold, into its terms."""
    found = list(cells_of(plan))
    values = {id(cell): cells[cell.block, cell.slot.name] for cell in found}
    by_path: dict[str, list[Cell]] = {}
    for cell in found:
        if cell.slot.method in _PRODUCTS:
            by_path.setdefault(plan.backbone.module_path(cell.site, cell.block), []).append(cell)
    copies, biases = _copied(plan, found, values), _biases(plan, found, values)
    return Adapter(
        kind=kind,
        products={
            path: _product(plan, sharing, [values[id(cell)] for cell in sharing])
            for path, sharing in by_path.items()
        },
        rescalings=_rescalings(plan, found, values),
        hadamard={
            plan.backbone.module_path(cell.site, cell.block): (values[id(cell)], scale(plan, cell))
            for cell in found
            if cell.slot.method == "loha"
        },
        biases=biases,
        copies=copies,
        learned={
            cell.block: values[id(cell)] for cell in found if cell.slot.method in prompts.KINDS
        },
    )


def scale(plan: Plan, cell: Cell) -> float:
    """Return the constant factor on what a cell adds."""
    recipe = plan.recipe
    constant = recipe.scales.get(cell.slot.method, 1.0)
    return constant / divisor(cell.slot, cell.size, recipe.rank_scaling)


def _product(plan: Plan, cells: list[Cell], values: list[Values]) -> Product:
    """Join the products at one matrix into one: ranks add up, and the scales go into ``up``."""
    scales = [scale(plan, cell) for cell in cells]
    outputs = _outputs(plan, cells[0])
    downs, ups = zip(*map(_factors, cells, values), strict=True)
    wide = [
        factor / scales[0] * _placed(up, cell.site.start or 0, outputs)
        for up, cell, factor in zip(ups, cells, scales, strict=True)
    ]
    return Product(
        down_RI=torch.cat(downs),
        up_RO=torch.cat(wide) if len(wide) > 1 else wide[0],
        scale=scales[0],
        magnitude={
            cell.site.start or 0: value["magnitude"]
            for cell, value in zip(cells, values, strict=True)
            if cell.slot.method == "dora"
        },
    )


def _factors(cell: Cell, values: Values) -> tuple[Tensor, Tensor]:
    """Return the two factors of what is a product once it is trained, without its scale."""
    if cell.slot.method == "moslora":
        return values["down"], values["mixer"].T @ values["up"]
    if cell.slot.method == "adalora":
        return values["right"], values["values"][:, None] * values["left"]
    return values["down"], values["up"]


def _placed(up_RO: Tensor, start: int, outputs: int) -> Tensor:
    after = outputs - start - up_RO.shape[1]
    return torch.nn.functional.pad(up_RO, (start, after)) if start or after else up_RO


def _outputs(plan: Plan, cell: Cell) -> int:
    """Return the outputs of the whole matrix that a cell's site is, or is a slice of."""
    sharing = [s for s in plan.backbone.sites if s.path == cell.site.path and s.kind == "linear"]
    return max((site.start or 0) + site.outputs for site in sharing)


def _rescalings(
    plan: Plan, cells: list[Cell], values: Mapping[int, Values]
) -> dict[str, Rescaling]:
    found: dict[str, Rescaling] = {}
    for cell in cells:
        if cell.slot.method != "ia3":
            continue
        path = plan.backbone.module_path(cell.site, cell.block)
        own, start = values[id(cell)]["factors"], cell.site.start or 0
        if cell.site.place == "ffn.output":
            found[path] = Rescaling(factors=own, of_inputs=True)
            continue
        known = found.get(path)
        whole = known.factors.clone() if known else own.new_ones(_outputs(plan, cell))
        whole[start : start + len(own)] *= own
        found[path] = Rescaling(factors=whole, of_inputs=False)
    return found


def _biases(plan: Plan, cells: list[Cell], values: Mapping[int, Values]) -> dict[str, Tensor]:
    """Return trained biases by path, with the first output that they are for in the name."""
    found = {}
    for cell in cells:
        if cell.slot.method != "bitfit":
            continue
        own = values[id(cell)]
        if cell.site.kind == "block":
            for site in layers_within(plan.backbone, cell.site):
                if site.bias:
                    found[f"{plan.backbone.module_path(site, cell.block)}:0"] = own[site.place]
        else:
            path = plan.backbone.module_path(cell.site, cell.block)
            found[f"{path}:{cell.site.start or 0}"] = own["bias"]
    return found


def _copied(plan: Plan, cells: list[Cell], values: Mapping[int, Values]) -> dict[str, Values]:
    found: dict[str, Values] = {}
    for cell in cells:
        own = values[id(cell)]
        if cell.slot.method in {"layer_norm", "ln_fit"}:
            path = plan.backbone.module_path(cell.site, cell.block)
            found[path] = {**found.get(path, {}), **own}
        elif cell.slot.method == "full":
            for site in layers_within(plan.backbone, cell.site):
                path = plan.backbone.module_path(site, cell.block)
                parts = ("weight", "bias")
                named = {part: own.get(f"{site.place}.{part}") for part in parts}
                found[path] = {part: value for part, value in named.items() if value is not None}
    return found
