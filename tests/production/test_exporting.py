"""Weights in other forms give the scores of what was trained."""

import json

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

import autopeft
from autopeft.errors import PlanError
from autopeft.plan import Plan
from autopeft.production.exporting import export_merged, export_peft
from autopeft.production.opening import open_trained
from tests.production.plans import LORA, logits_of, moved, plan_on, trained

SHAPES = ("bert", "gpt2", "llama", "t5", "vit")


def opened_on(tmp_path, sizes, family="bert", **options):
    """Train a plan a little, save it, and open it from there."""
    plan = plan_on(tmp_path / "model", sizes, family, **options)
    model = moved(trained(plan, family))
    autopeft.save(model, tmp_path / "trained")
    return open_trained(plan, tmp_path / "trained"), logits_of(model, family)


def in_peft(opened, folder):
    """Load an adapter as anyone would who has never heard of autopeft."""
    plain = autopeft.model_for(opened.plan)
    if opened.plan.task.head == "lm":
        return PeftModel.from_pretrained(plain, folder)
    plain.backbone = PeftModel.from_pretrained(plain.backbone, folder)
    head = load_file(folder / "head.safetensors")
    plain.load_state_dict(head, strict=False)
    return plain


@pytest.mark.parametrize("family", SHAPES)
@pytest.mark.parametrize(
    "sizes",
    [
        LORA,
        {"lora@attention.query": 2, "dora@attention.value": 3, "lora@ffn.output": 1},
        {"ia3@attention.key": 1, "ia3@attention.value": 1, "ia3@ffn.output": 1},
        {"moslora@attention.query": 2, "adalora@attention.output": 3, "dylora@ffn.input": 2},
        {"lora_fa@ffn.input": 2, "layer_norm@ffn.norm": 1, "bitfit@attention.output": 1},
        {"layer_norm@ffn.norm": 1, "ln_fit@attention.norm": 1},
    ],
    ids=lambda sizes: "+".join(dict.fromkeys(name.split("@")[0] for name in sizes)),
)
def test_an_adapter_of_peft_gives_equal_scores(family, sizes, tmp_path):
    if family in {"llama", "t5"} and "bitfit@attention.output" in sizes:
        sizes = {name: size for name, size in sizes.items() if not name.startswith("bitfit")}
    opened, before = opened_on(tmp_path, sizes, family)

    written = export_peft(opened, tmp_path / "peft")

    after = logits_of(in_peft(opened, tmp_path / "peft"), family)
    assert torch.allclose(after, before, atol=1e-4)
    assert (logits_of(autopeft.model_for(opened.plan), family) - before).abs().max() > 0.02
    assert written.drift.largest < 1e-4
