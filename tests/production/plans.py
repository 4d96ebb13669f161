"""Plans on tiny models, and what is done with them in every test of the room."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import autopeft
from autopeft.evidence import Provenance
from autopeft.plan import VERSION, Plan
from autopeft.search_spaces.catalog import slots_of
from autopeft.study import Columns, DataFiles, Task, TaskKind, Where
from autopeft.training.model_files import find_model
from autopeft.training.shape import read_backbone
from autopeft.training.towers import tower_of
from tests.kinds import save_model
from tests.models import DECODERS, padded_inputs, recipe_of, table

HEADS = {"classification": "mean", "regression": "mean", "tokens": "tokens", "image": "cls"}
METRICS = {
    "classification": "accuracy", "regression": "spearman", "tokens": "token_accuracy",
    "image": "accuracy", "causal_lm": "log_likelihood", "seq2seq": "log_likelihood",
}  # fmt: skip
LORA = {"lora@attention.query": 2, "lora@attention.value": 3}


def kind_of(family: str) -> TaskKind:
    """The kind of task that a family of tiny models is tried with."""
    if family in {"vit", "deit", "dinov2"}:
        return "image"
    if family in DECODERS:
        return "causal_lm"
    return "seq2seq" if family in {"t5", "mt5", "bart"} else "classification"


def task_for(kind: TaskKind) -> Task:
    """Describe data that is not there."""
    labels = () if kind in {"causal_lm", "seq2seq", "regression"} else ("bad", "good")
    return Task(
        kind=kind, metric=METRICS[kind], labels=labels, head=HEADS.get(kind, "lm"), max_length=16,
        columns=Columns(text="text", label="label"), digest="0" * 64, split_seed=0,
        examples=(30, 10, 10),
    )  # fmt: skip


def plan_on(
    folder: Path, sizes: Mapping[str, int], family: str = "bert", *, kind: TaskKind | None = None,
    changes: Mapping[str, Any] | None = None, **recipe: Any,
) -> Plan:  # fmt: skip
    """Save a tiny model, and make a plan that puts slots into every block that has them."""
    kind = kind or kind_of(family)
    if not folder.exists():
        save_model(folder, kind, family, **(changes or {}))
    return plan_for(str(folder), sizes, kind, **recipe)


def plan_for(model: str, sizes: Mapping[str, int], kind: TaskKind, **recipe: Any) -> Plan:
    """Make a plan on a model that is there."""
    backbone = tower_of(read_backbone(find_model(model)), kind)
    slots = slots_of(backbone)
    named = {}
    for name, size in sizes.items():
        meant = [s for s in slots if name in {s.name, f"{s.method}@{s.place}"}]
        assert meant, f"{name} is no slot of {model}"
        named |= {slot.name: size for slot in meant}
    configuration = table(slots, backbone.blocks, named)
    task = task_for(kind)
    parameters = configuration.parameters(slots)
    return Plan(
        version=VERSION, backbone=backbone, task=task, slots=slots, configuration=configuration,
        where=Where(model=model, data=DataFiles(train="data.csv")),
        recipe=recipe_of(**recipe), seed=3, parameters=parameters, expected=None,
        head_parameters=0 if task.head == "lm" else (backbone.width + 1) * task.outputs,
        provenance=Provenance(
            study="", trial=0, strategy="named configuration", space="unified", budget="50%",
            ceiling=max(parameters, backbone.parameters // 2), trials=0, verdict="not compared",
            versions={}, created="2026-11-22T00:00:00+00:00",
        ),
    )  # fmt: skip


def batch_for(family: str) -> dict[str, torch.Tensor]:
    """Return three examples with labels for the kind of task of a family."""
    inputs = padded_inputs(family)
    if kind_of(family) == "causal_lm":
        return inputs | {"labels": inputs["input_ids"]}
    if kind_of(family) == "seq2seq":
        return inputs | {"labels": inputs["decoder_input_ids"]}
    return inputs | {"labels": torch.tensor([0, 1, 1])}


def logits_of(model: Any, family: str) -> torch.Tensor:
    """Return the scores of three examples, those of padding left out."""
    inputs = {k: v for k, v in batch_for(family).items() if k != "labels"}
    training = model.training
    with torch.no_grad():
        found = model.eval()(**inputs).logits
    model.train(training)
    mask = inputs.get("decoder_attention_mask", inputs.get("attention_mask"))
    return found[mask.bool()] if found.dim() == 3 and mask is not None else found


def trained(plan: Plan, family: str, *, steps: int = 2) -> Any:
    """Apply a plan to its model and train it a little, as anyone's loop would."""
    model = autopeft.apply(plan, autopeft.model_for(plan))
    batch = batch_for(family)
    autopeft.choose_by(model, [batch])
    optimizer = torch.optim.AdamW(autopeft.parameter_groups(model), lr=1e-2)
    model.train()
    for _ in range(steps):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def moved(model: Any) -> Any:
    """Move all that is trained far off its start, so that nothing is equal by being small."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model
