"""Write trained weights in forms that others read, and measure what that changes."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from autopeft.errors import PlanError
from autopeft.evidence import Drift, Exported
from autopeft.files import write_json, write_text
from autopeft.plan import FILE, Plan
from autopeft.production.adapters import adapter_of, in_the_way, kind_of
from autopeft.production.card import card
from autopeft.production.converting import low_rank
from autopeft.production.fitting import transformer_of
from autopeft.production.heads import Headed
from autopeft.production.merging import can_stream, merge_in_place
from autopeft.production.opening import Opened, holds, transformer_in
from autopeft.production.peft_format import read_peft, write_peft
from autopeft.production.prompts import KINDS, probed, shown
from autopeft.production.reading import digests_in
from autopeft.production.terms import Adapter, Kind
from autopeft.search_spaces.catalog import METHODS
from autopeft.training.pretrained import load_backbone
from autopeft.training.probe import drift, inputs_for, numbers_of, scores_of

HEAD_FILE = "head.safetensors"
_EXACT = 1e-3
"""What rounding may do to a score, relative to the mean score."""
_KINDS = {"causal_lm": "CAUSAL_LM", "seq2seq": "SEQ_2_SEQ_LM"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written: the directory, what it is, and how far it is from what was trained.

    ``head`` is the file with the plan's own head, None where the model has it inside. ``rank`` is
    that of a conversion to LoRA, None where nothing was converted.
    """

    folder: Path
    what: str
    drift: Drift
    head: Path | None
    rank: int | None = None


def export_peft(
    opened: Opened, folder: Path, *, rank: int | None = None, convert: bool = False
) -> Written:
    """Write an adapter of `peft`, exact; or, to ``convert``, the LoRA that comes nearest.

    The adapter is read back into a fresh model, and its scores are held against those of what was
    trained. ``rank`` is the largest that a conversion may take.

    Raises:
        PlanError: `peft` has no adapter for the plan; the cells in the way are named.
    """
    plan, kind = opened.plan, kind_of(opened.plan)
    if not convert and (cells := list(in_the_way(plan, kind))):
        raise PlanError(_in_the_way(plan, cells))
    model = opened.trained()
    inputs = inputs_for(model.config)
    before = scores_of(model, inputs)
    head, inner, saved = _outside(model)
    adapter = low_rank(opened, model, rank) if convert else _exact(plan, kind, model)
    plain = opened.plain()
    _copy_head(head, plain)
    told = {"task_type": _KINDS.get(plan.task.kind), "base_model_name_or_path": plan.backbone.name}
    write_peft(adapter, transformer_in(plain), inner, folder, saved=saved, told=told)
    # what the library writes there is a form to be filled in
    write_text(folder / "README.md", card(plan, library="peft"))
    fresh = opened.plain()
    _copy_head(head if not saved else {}, fresh)
    tuned = _with_adapter(fresh, folder)
    measured = drift(before, scores_of(shown(tuned), inputs))
    if not convert and measured.largest > _EXACT * max(1.0, measured.scale):
        instead = "load it with autopeft.load" if _stuck(plan) else "export it with --format merged"
        raise PlanError(
            f"what peft makes of the plan differs by {measured.largest:.2g} in its scores: its "
            f"version computes something else; {instead}"
        )
    file = _write_head(head, folder) if not saved else None
    largest = max((p.rank for p in adapter.products.values()), default=None)
    probe = numbers_of(probed(plan, tuned))
    exported = Exported(
        plan=plan.digest, format="peft", drift=measured, probe=probe, files=digests_in(folder),
        rank=largest if convert else None,
    )  # fmt: skip
    _write_copy(plan, folder, exported)
    return Written(
        folder=folder, what=f"peft {adapter.kind}", drift=measured, head=file, rank=exported.rank
    )


def _exact(plan: Plan, kind: Kind, model: Any) -> Adapter:
    injection = holds(model).injection
    injection.state()  # what a scaffold computes is brought up to date
    cells = {
        cell: {n: v.detach().clone() for n, v in {**put.parameters, **put.fixed}.items()}
        for cell, put in injection.cells().items()
    }
    return adapter_of(plan, kind, cells)


def export_merged(opened: Opened, folder: Path) -> Written:
    """Write a plain directory of transformers with what was learned in the backbone's own weights.

    Where the model's files allow it they are copied and changed in place, in the precision that
    they have; else the model is loaded, merged and saved in float32.

    Raises:
        PlanError: A method cannot be merged; the reason is named.
    """
    plan = opened.plan
    model = opened.trained()
    inputs = inputs_for(model.config)
    before = scores_of(model, inputs)
    head, _, saved = _outside(model)
    if can_stream(opened):
        del model
        merge_in_place(opened, folder)
        merged = opened.plain()
        _copy_head(head, merged)
        whole = load_backbone(replace(opened.files, path=folder), plan.task.kind)
        merged = _exchanged(merged, whole)
    else:
        merged = _merged(model)
        transformer_in(merged).save_pretrained(str(folder))
        _copy_readers(opened.files.path, folder)
    measured = drift(before, scores_of(merged, inputs))
    file = _write_head(head, folder) if head and not saved else None
    probe = numbers_of(transformer_of(plan, merged))
    exported = Exported(
        plan=plan.digest, format="merged", drift=measured, probe=probe, files=digests_in(folder)
    )
    _write_copy(plan, folder, exported)
    what = type(transformer_in(merged)).__name__
    return Written(folder=folder, what=what, drift=measured, head=file)


def _exchanged(model: Any, whole: Any) -> Any:
    """Put another backbone under a head of our own."""
    if transformer_in(model) is model:
        return whole
    model.backbone = whole
    return model


def _merged(model: Any) -> Any:
    from autopeft.production.applying import remove

    held = holds(model)
    held.injection.merge()
    return remove(model)


def _in_the_way(plan: Plan, cells: list[str]) -> str:
    shown = "\n  ".join(cells[:8]) + (f"\n  and {len(cells) - 8} more" if len(cells) > 8 else "")
    stuck = _stuck(plan)
    if never := [method for method in stuck if method not in KINDS]:
        what = f"{', '.join(never)} can be in no adapter of peft: load it with autopeft.load"
    elif stuck:
        what = f"{', '.join(stuck)} cannot be merged either: load it with autopeft.load"
    else:
        what = (
            "all of it is linear: --convert lora writes the LoRA that comes nearest and measures "
            "the difference, --format merged writes the weights themselves"
        )
    return f"peft has no adapter for this plan, these cells stand in the way:\n  {shown}\n{what}"


def _stuck(plan: Plan) -> list[str]:
    return [m for m in plan.configuration.methods(plan.slots) if not METHODS[m].merges]


def _outside(model: Any) -> tuple[dict[str, Tensor], str, list[str]]:
    """Return the head, the path of the backbone, and the modules around it that are saved whole.

    There are none of these where the head is the plan's own: `peft` does not see that.
    """
    held = holds(model)
    head = {name: p.detach().clone() for name, p in {**held.head, **held.beside}.items()}
    if isinstance(model, Headed) and held.plan.task.kind == "regression":
        head |= {"mean": model.mean.clone(), "spread": model.spread.clone()}
    whole = transformer_in(model)
    inner = next(name for name, part in whole.named_modules() if part is held.base)
    inner = f"{inner}." if inner else ""
    if whole is not model:
        return head, inner, []
    return head, inner, sorted({name.rpartition(".")[0] for name in head})


def _copy_head(head: Mapping[str, Tensor], model: Any) -> None:
    with torch.no_grad():
        for name, value in head.items():
            model.state_dict()[name].copy_(value)


def _with_adapter(model: Any, folder: Path) -> Any:
    whole = transformer_in(model)
    tuned = read_peft(whole, folder)
    if whole is model:
        return tuned
    model.backbone = tuned
    return model


def _write_head(head: Mapping[str, Tensor], folder: Path) -> Path | None:
    if not head:
        return None
    save_file({name: value.contiguous() for name, value in head.items()}, folder / HEAD_FILE)
    return folder / HEAD_FILE


def _write_copy(plan: Plan, folder: Path, exported: Exported) -> None:
    write_json(folder / FILE, replace(plan, exported=exported, signature=None).to_json())


def _copy_readers(source: Path, folder: Path) -> None:
    """Copy what turns data into the model's input: all small files but the weights' own."""
    for file in sorted(source.iterdir()):
        weights = file.suffix in {".safetensors", ".bin", ".h5", ".msgpack", ".onnx"}
        known = file.name.endswith(".index.json") or file.name in {"README.md", "config.json"}
        if file.is_file() and not weights and not known and not (folder / file.name).exists():
            shutil.copyfile(file, folder / file.name)
