"""Whether vLLM would serve a plan's adapter, why not, and the nearest plan that it would.

What is said of vLLM was read in its source: ``vllm/lora/peft_helper.py`` (which fields of
adapter_config.json are read and refused) and ``vllm/config/lora.py`` (ranks); the issues are where
its users met the limits.
"""

from collections import defaultdict
from dataclasses import dataclass

from autopeft.plan import Plan
from autopeft.production.adapters import Cell, cells_of, kind_of
from autopeft.search_spaces.catalog import METHODS, slots_of
from autopeft.search_spaces.configuration import Configuration, Slot

CAPS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What ``--max-lora-rank`` may be (vllm/config/lora.py)."""
USUAL_CAP = 16
_PRODUCTS = {"lora", "lora_fa", "dylora", "moslora", "adalora"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether vLLM takes an adapter, started with ``--max-lora-rank`` at ``cap``.

    ``reasons`` say what stands in the way, each with its source. ``needs`` is the smallest cap
    that its ranks fit under, None where no cap helps. ``nearest`` is a configuration over
    ``slots`` that it would take, None where the plan is taken as it is or nothing is left of it.
    """

    takes: bool
    cap: int
    needs: int | None
    reasons: tuple[str, ...]
    slots: tuple[Slot, ...]
    nearest: Configuration | None

    def sentence(self) -> str:
        """Say the verdict in a sentence."""
        if self.takes:
            return f"vLLM takes it with --enable-lora --max-lora-rank {self.needs}"
        return f"vLLM does not take it with --max-lora-rank {self.cap}: {self.reasons[0]}"


def vllm_verdict(plan: Plan, cap: int = USUAL_CAP) -> Verdict:
    """Judge a plan's adapter as `export --format peft` writes it."""
    ranks = _ranks(plan)
    needs = next((known for known in CAPS if known >= max(ranks.values(), default=1)), None)
    reasons = [*_task(plan), *_methods(plan), *_too_large(ranks, cap)]
    slots, nearest = _nearest(plan, cap)
    there = any(any(row) for row in nearest.sizes) and plan.task.kind == "causal_lm"
    return Verdict(
        takes=not reasons,
        cap=cap,
        needs=needs,
        reasons=tuple(reasons),
        slots=slots,
        nearest=nearest if reasons and there else None,
    )


def _task(plan: Plan) -> list[str]:
    if plan.task.kind == "causal_lm":
        return []
    why = (
        "its adapters are LoRA on language models that continue a text, and this plan is for "
        f"{plan.task.kind}: serve it merged (autopeft export --format merged)"
    )
    return [why]


def _methods(plan: Plan) -> list[str]:
    found = []
    for method in plan.configuration.methods(plan.slots):
        cells = [cell for cell in cells_of(plan) if cell.slot.method == method]
        if why := _refused(method):
            found.append(f"{cells[0]} ({len(cells)} cells): {why}")
    return found


def _refused(method: str) -> str:
    if method in _PRODUCTS:
        return ""
    if method == "dora":
        return "it does not support DoRA (vllm/lora/peft_helper.py; vllm#6983)"
    if method in {"layer_norm", "ln_fit", "full"}:
        return "it takes no modules_to_save (vllm/lora/peft_helper.py; vllm#9280)"
    if method == "bitfit":
        return "its LoRA layers add no biases (vllm/lora/peft_helper.py reads r and alpha alone)"
    if METHODS[method].merges:
        return "its adapters are LoRA: write the nearest one with --format peft --convert lora"
    return f"its adapters are LoRA, and here {METHODS[method].merge}"


def _too_large(ranks: dict[str, int], cap: int) -> list[str]:
    if not ranks or max(ranks.values()) <= cap:
        return []
    path = max(ranks, key=lambda name: ranks[name])
    why = (
        f"{path} has rank {ranks[path]}, and the server's cap is {cap}: start it with "
        f"--max-lora-rank (one of {', '.join(map(str, CAPS))}; vllm/config/lora.py; vllm#2847)"
    )
    return [why]


def _ranks(plan: Plan) -> dict[str, int]:
    """Add up the ranks at every matrix: slices of a fused one share it."""
    ranks: defaultdict[str, int] = defaultdict(int)
    if kind_of(plan) == "LORA":
        for cell in cells_of(plan):
            if cell.slot.method in _PRODUCTS | {"dora"}:
                ranks[plan.backbone.module_path(cell.site, cell.block)] += cell.size
    return dict(ranks)


def _nearest(plan: Plan, cap: int) -> tuple[tuple[Slot, ...], Configuration]:
    """Turn every cell into LoRA at its site, of as many parameters, and no rank above the cap."""
    slots = tuple(s for s in slots_of(plan.backbone) if s.method == "lora")
    column = {slot.site: place for place, slot in enumerate(slots)}
    rows = [[0] * len(slots) for _ in range(plan.backbone.blocks)]
    for cell in cells_of(plan):
        if cell.slot.site in column:
            place = column[cell.slot.site]
            rows[cell.block][place] = min(
                cap, max(rows[cell.block][place], _rank(cell, slots[place]))
            )
    return slots, Configuration(tuple(map(tuple, rows)))


def _rank(cell: Cell, lora: Slot) -> int:
    if cell.slot.method in _PRODUCTS | {"dora"}:
        return cell.size
    return max(1, cell.slot.parameters(cell.size) // lora.unit)
