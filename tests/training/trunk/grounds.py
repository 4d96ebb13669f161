"""Benches of every kind, with what their lower blocks give kept on disk or not."""

from dataclasses import replace
from pathlib import Path

from autopeft.search_spaces.configuration import Configuration
from autopeft.training.trainer import Trainer
from autopeft.training.trunk.shelf import Shelf
from autopeft.trial import Fidelity
from tests.kinds import bench_of, continued, save_model, tagged, write_json, write_pictures
from tests.models import Bench, opinions, recipe_of, save_tiny, write_rows

LORA = {"lora@attention.query": 2, "lora@ffn.output": 2, "bitfit@block": 1}
SIDES = {f"{side}.{name}": 2 for side in ("encoder", "decoder") for name in (
    "attention.query", "ffn.output")}  # fmt: skip
KINDS = {
    "bert": "classification", "deberta-v2": "tokens", "modernbert": "classification",
    "gpt2": "causal_lm", "llama": "classification", "gemma2": "causal_lm", "mt5": "seq2seq",
    "bart": "seq2seq", "vit": "image", "albert": "classification", "distilbert": "tokens",
    "opt": "causal_lm", "phi": "causal_lm", "dinov2": "image", "gemma3_text": "causal_lm",
}  # fmt: skip


def bench(folder: Path, family: str, **changes) -> Bench:
    """Open a tiny model of three blocks a stack, or its own number, on data of its kind."""
    kind = KINDS[family]
    changes = {_depth(family): 3} | changes
    if family in {"mt5", "bart"}:
        changes |= {"num_decoder_layers": 3} if family == "mt5" else {"decoder_layers": 3}
    if kind == "classification":
        model = save_tiny(folder / "model", family, **changes)
        return Bench(model, write_rows(folder / "data.csv", opinions(80)))
    model = save_model(folder / "model", kind, family, **changes)
    if kind == "image":
        return bench_of(model, write_pictures(folder / "images", 40), kind, head="mean")
    rows = tagged(60) if kind == "tokens" else continued(60)
    return bench_of(model, write_json(folder / "data.jsonl", rows), kind)


def _depth(family: str) -> str:
    return {"mt5": "num_layers", "bart": "encoder_layers", "gpt2": "n_layer",
            "distilbert": "n_layers"}.get(family, "num_hidden_layers")  # fmt: skip


def again(ground: Bench, shelf: Shelf | None) -> Trainer:
    """Make another trainer of a bench on the same model and data, with another shelf."""
    one = ground.trainer
    return Trainer(ground.task, ground.backbone, one._whole, one.parts, shelf)


def above(ground: Bench, row: int, sizes: dict[str, int] | None = None) -> Configuration:
    """Return a table that holds something from a row on."""
    if sizes is None:
        sides = {f"lora@{name}": size for name, size in SIDES.items()}
        sizes = sides if len(ground.backbone.stacks) > 1 else LORA
    known = {slot.name for slot in ground.slots}
    table = ground.table({name: size for name, size in sizes.items() if name in known})
    nothing = (0,) * len(ground.slots)
    return Configuration((*(nothing,) * row, *table.sizes[row:]))


def trained(ground: Bench, trainer: Trainer, row: int, sizes=None, *, share=1.0, **recipe):
    """Train a table above a row; return what was measured and the weights."""
    chosen = recipe_of(**({"epochs": 2} | recipe))
    with trainer.tuned(ground.slots, above(ground, row, sizes), chosen, 0) as tuned:
        *_, found = trainer.measure(tuned, 0, Fidelity(share=share))
        state = {name: value.clone() for name, value in tuned.injection.state().items()}
        state |= {name: value.detach().clone() for name, value in tuned.model.head().items()}
    return replace(found, seconds=0.0), state
