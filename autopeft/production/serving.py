"""Whether vLLM and TGI would serve a plan's adapter, why not, and the nearest plan they would.

What is said of a server was read in its source, and every reason names the file. Of vLLM these are
``vllm/lora/peft_helper.py`` (which fields of adapter_config.json are read and refused) and
``vllm/config/lora.py`` (ranks); the issues are where its users met the limits. Of TGI
(text-generation-inference) they are below ``server/text_generation_server``:

- ``adapters/lora.py``: of adapter_config.json it reads r, lora_alpha, fan_in_fan_out and
  use_rslora. Each projection's products of all blocks are stacked, so that one that lacks a block
  is left out everywhere, and ranks must be equal. They are padded, and the padded rank replaces r
  before the next projection's scale, lora_alpha / r, is computed.
- ``utils/adapter.py``: projections are looked up by the names that Llama gives them.
- ``utils/sgmv.py``: a rank is padded to 8, or to a multiple of 16.
- ``models/__init__.py``: all adapters are loaded into a model of ``model.layers``.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from autopeft.plan import Plan
from autopeft.production.adapters import kind_of
from autopeft.production.terms import Cell, cells_of
from autopeft.search_spaces.catalog import METHODS, slots_of
from autopeft.search_spaces.configuration import Configuration, Slot

Server = Literal["vLLM", "TGI"]
CAPS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM's ``--max-lora-rank`` may be (vllm/config/lora.py)."""
USUAL_CAP = 16
_PRODUCTS = {"lora", "lora_fa", "dylora", "moslora", "adalora"}
_SAVED = {"layer_norm", "ln_fit", "full"}
_PADDED = (8, *range(16, 513, 16))
"""Ranks that TGI leaves as they are (utils/sgmv.py)."""
_LLAMA = re.compile(r"layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)")
_TGI = "server/text_generation_server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a server takes an adapter, started as ``started`` says.

    ``reasons`` say what stands in the way, each with its source. ``needs`` is the smallest
    ``--max-lora-rank`` that its ranks fit under, None where no cap helps or there is none.
    ``nearest`` is a configuration over ``slots`` that the server would take, None where the plan
    is taken as it is or nothing is left of it.
    """

    server: Server
    takes: bool
    started: str
    needs: int | None
    reasons: tuple[str, ...]
    slots: tuple[Slot, ...]
    nearest: Configuration | None

    def sentence(self) -> str:
        """Say the verdict in a sentence."""
        if self.takes:
            return f"{self.server} takes it, started with {self.started}"
        return f"{self.server} does not take it with {self.started}: {self.reasons[0]}"


def verdicts(plan: Plan, cap: int = USUAL_CAP) -> tuple[Verdict, Verdict]:
    """Judge a plan's adapter as `export --format peft` writes it, by vLLM and by TGI."""
    return vllm_verdict(plan, cap), tgi_verdict(plan)


def vllm_verdict(plan: Plan, cap: int = USUAL_CAP) -> Verdict:
    """Judge a plan's adapter for a vLLM whose ``--max-lora-rank`` is ``cap``."""
    ranks = _ranks(plan)
    needs = next((known for known in CAPS if known >= max(ranks.values(), default=1)), None)
    reasons = _task(plan) or [*_methods(plan, _VLLM_REFUSES), *_too_large(ranks, cap)]
    allowed = cap if reasons else needs
    return Verdict(
        server="vLLM",
        takes=not reasons,
        started=f"--enable-lora --max-lora-rank {allowed}",
        needs=needs,
        reasons=tuple(reasons),
        slots=_lora_slots(plan),
        nearest=_where_needed(plan, reasons, _capped(plan, cap)),
    )


def tgi_verdict(plan: Plan) -> Verdict:
    """Judge a plan's adapter for TGI on one accelerator; more of them pad ranks further."""
    reasons = _task(plan) or [*_methods(plan, _TGI_REFUSES), *_uneven(plan)]
    return Verdict(
        server="TGI",
        takes=not reasons,
        started="--lora-adapters",
        needs=None,
        reasons=tuple(reasons),
        slots=_lora_slots(plan),
        nearest=_where_needed(plan, reasons, _even(plan)),
    )


def _where_needed(
    plan: Plan, reasons: list[str], nearest: Configuration | None
) -> Configuration | None:
    there = nearest is not None and any(any(row) for row in nearest.sizes)
    return nearest if reasons and there and plan.task.kind == "causal_lm" else None


def _task(plan: Plan) -> list[str]:
    """Say that a task is not served at all: then nothing else need be said."""
    if plan.task.kind == "causal_lm":
        return []
    reason = (
        "its adapters are LoRA on language models that continue a text, and this plan is for "
        f"{plan.task.kind}: serve it merged (autopeft export --format merged)"
    )
    return [reason]


def _methods(plan: Plan, refusals: Mapping[str, str]) -> Iterator[str]:
    for method in plan.configuration.methods(plan.slots):
        cells = [cell for cell in cells_of(plan) if cell.slot.method == method]
        if why := _refused(method, refusals):
            yield f"{cells[0]} ({len(cells)} cells): {why}"


_VLLM_REFUSES = {
    "dora": "it does not support DoRA (vllm/lora/peft_helper.py; vllm#6983)",
    **dict.fromkeys(_SAVED, "it takes no modules_to_save (vllm/lora/peft_helper.py; vllm#9280)"),
    "bitfit": "its LoRA layers add no biases (vllm/lora/peft_helper.py reads r and alpha alone)",
}
_TGI_REFUSES = {
    "dora": f"it would drop DoRA's magnitudes unsaid ({_TGI}/adapters/lora.py reads no use_dora)",
    **dict.fromkeys(
        _SAVED,
        f"it would drop them unsaid ({_TGI}/adapters/lora.py reads no modules_to_save)",
    ),
    "bitfit": f"it would drop biases unsaid ({_TGI}/adapters/lora.py reads lora_A and lora_B)",
}


def _refused(method: str, refusals: Mapping[str, str]) -> str:
    if method in _PRODUCTS:
        return ""
    if why := refusals.get(method):
        return why
    if METHODS[method].merges:
        return "its adapters are LoRA: write the nearest one with --format peft --convert lora"
    return f"its adapters are LoRA, and here {METHODS[method].merge}"


def _too_large(ranks: Mapping[str, int], cap: int) -> Iterator[str]:
    if ranks and max(ranks.values()) > cap:
        path = max(ranks, key=lambda name: ranks[name])
        yield (
            f"{path} has rank {ranks[path]}, and the server's cap is {cap}: start it with "
            f"--max-lora-rank (one of {', '.join(map(str, CAPS))}; vllm/config/lora.py; vllm#2847)"
        )


def _uneven(plan: Plan) -> Iterator[str]:
    """Say which projections TGI does not know, would leave out, or would scale otherwise."""
    ranks = _ranks(plan)
    if strange := [path for path in ranks if not _LLAMA.fullmatch(path)]:
        yield (
            f"{strange[0]} is none of the projections that it looks for, q_proj to down_proj of "
            f"Llama's blocks ({_TGI}/utils/adapter.py); serve the plan merged"
        )
        return
    of: defaultdict[str, list[int]] = defaultdict(list)
    for path, rank in ranks.items():
        of[path.rpartition(".")[2]].append(rank)
    blocks = plan.backbone.blocks
    for name, found in of.items():
        if len(found) < blocks:
            yield (
                f"{name} is adapted in {len(found)} of {blocks} blocks, and it leaves a projection "
                f"out of all blocks where one lacks it ({_TGI}/adapters/lora.py)"
            )
    if len(used := set(ranks.values())) > 1 or not used <= set(_PADDED):
        listed = ", ".join(map(str, sorted(used)))
        yield (
            f"ranks are {listed}: it needs one rank for all, 8 or a multiple of 16, since it "
            f"stacks the blocks and scales by the padded rank ({_TGI}/adapters/lora.py, "
            "utils/sgmv.py)"
        )


def _ranks(plan: Plan) -> dict[str, int]:
    """Add up the ranks at every matrix: slices of a fused one share it."""
    ranks: Counter[str] = Counter()
    if kind_of(plan) == "LORA":
        for cell in cells_of(plan):
            if cell.slot.method in _PRODUCTS | {"dora"}:
                ranks[plan.backbone.module_path(cell.site, cell.block)] += cell.size
    return dict(ranks)


def _lora_slots(plan: Plan) -> tuple[Slot, ...]:
    return tuple(slot for slot in slots_of(plan.backbone) if slot.method == "lora")


def _capped(plan: Plan, cap: int) -> Configuration:
    """Turn every cell into LoRA at its site, of as many parameters, and no rank above the cap."""
    slots = _lora_slots(plan)
    column = {slot.site: place for place, slot in enumerate(slots)}
    rows = [[0] * len(slots) for _ in range(plan.backbone.blocks)]
    for cell in cells_of(plan):
        if cell.slot.site in column:
            place = column[cell.slot.site]
            rows[cell.block][place] = min(
                cap, max(rows[cell.block][place], _rank(cell, slots[place]))
            )
    return Configuration(tuple(map(tuple, rows)))


def _rank(cell: Cell, lora: Slot) -> int:
    if cell.slot.method in _PRODUCTS | {"dora"}:
        return cell.size
    return max(1, cell.slot.parameters(cell.size) // lora.unit)


def _even(plan: Plan) -> Configuration | None:
    """Give the projections that the plan uses most one rank in all blocks, within its budget.

    They are left out one by one, the least adapted first, until even the least rank fits.
    """
    slots, near = _lora_slots(plan), _capped(plan, max(_PADDED))
    weights = {
        place: sum(row[place] for row in near.sizes)
        for place, slot in enumerate(slots)
        if _LLAMA.fullmatch(plan.backbone.module_path(plan.backbone.site(slot.site), 0))
    }
    used = sorted((p for p in weights if weights[p]), key=lambda place: -weights[place])
    wanted = max((size for row in near.sizes for size in row), default=0)
    for count in range(len(used), 0, -1):
        chosen = used[:count]
        for rank in sorted((r for r in _PADDED if r <= max(wanted, _PADDED[0])), reverse=True):
            row = tuple(rank if place in chosen else 0 for place in range(len(slots)))
            made = Configuration((row,) * plan.backbone.blocks)
            fits = all(rank <= (slots[place].most or rank) for place in chosen)
            if fits and made.parameters(slots) <= plan.provenance.ceiling:
                return made
    return None
