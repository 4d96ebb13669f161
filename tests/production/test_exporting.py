"""Weights in other forms give the scores of what was trained."""

import json
import re
from dataclasses import replace

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

import autopeft
from autopeft.errors import PlanError
from autopeft.production.adapters import in_the_way
from autopeft.production.adapters import kind_of as kind_of_adapter
from autopeft.production.exporting import export_merged, export_peft
from autopeft.production.opening import open_trained
from autopeft.production.verifying import verify
from tests.models import padded_inputs
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


ADAPTERS = [
    LORA,
    {"lora@attention.query": 2, "dora@attention.value": 3, "lora@ffn.output": 1},
    {"ia3@attention.key": 1, "ia3@attention.value": 1, "ia3@ffn.output": 1},
    {"moslora@attention.query": 2, "adalora@attention.output": 3, "dylora@ffn.input": 2},
    {"lora_fa@ffn.input": 2, "layer_norm@ffn.norm": 1, "bitfit@attention.output": 1},
    {"layer_norm@ffn.norm": 1, "ln_fit@attention.norm": 1},
]


def every_shape_and_adapter():
    """LoRA on all shapes and all adapters on BERT in every run; the rest is marked slow."""
    for family in SHAPES:
        for sizes in ADAPTERS:
            name = "+".join(dict.fromkeys(slot.split("@")[0] for slot in sizes))
            often = family == "bert" or sizes is LORA
            marks = () if often else pytest.mark.slow
            yield pytest.param(family, sizes, id=f"{name}-{family}", marks=marks)


@pytest.mark.parametrize(("family", "sizes"), list(every_shape_and_adapter()))
def test_an_adapter_of_peft_gives_equal_scores(family, sizes, tmp_path):
    if family in {"llama", "t5"} and "bitfit@attention.output" in sizes:
        sizes = {name: size for name, size in sizes.items() if not name.startswith("bitfit")}
    opened, before = opened_on(tmp_path, sizes, family)

    written = export_peft(opened, tmp_path / "peft")

    after = logits_of(in_peft(opened, tmp_path / "peft"), family)
    assert torch.allclose(after, before, atol=1e-4)
    assert (logits_of(autopeft.model_for(opened.plan), family) - before).abs().max() > 0.02
    assert written.drift.largest < 1e-4


def config_in(folder):
    return json.loads((folder / "adapter_config.json").read_text("utf-8"))


def test_ranks_scales_and_modules_are_said_as_peft_says_them(tmp_path):
    """One scale for all, whatever the ranks: vLLM reads alpha / r once."""
    opened, _ = opened_on(tmp_path, {"lora@attention.query": 2, "lora@ffn.output": 3}, "llama")

    export_peft(opened, tmp_path / "peft")
    config = config_in(tmp_path / "peft")

    assert (config["peft_type"], config["task_type"]) == ("LORA", "CAUSAL_LM")
    assert config["base_model_name_or_path"] == opened.plan.backbone.name
    assert "library_name: peft" in (tmp_path / "peft" / "README.md").read_text("utf-8")
    assert sorted(config["target_modules"]) == ["down_proj", "q_proj"]
    assert config["lora_alpha"] / config["r"] == opened.plan.recipe.scales["lora"]
    ranks = dict.fromkeys((), config["r"]) | config["rank_pattern"]
    assert set(ranks.values()) <= {2, 3}
    for path, alpha in config["alpha_pattern"].items():
        assert alpha / ranks[path] == opened.plan.recipe.scales["lora"]


def test_blocks_are_named_by_their_numbers_where_only_some_are_adapted(tmp_path):
    plan = plan_on(tmp_path / "model", {"lora@attention.query": 2}, "llama")
    rows = (plan.configuration.sizes[0], (0,) * len(plan.slots))
    sizes = type(plan.configuration)(rows)
    plan = replace(plan, configuration=sizes, parameters=sizes.parameters(plan.slots))
    autopeft.save(moved(trained(plan, "llama")), tmp_path / "trained")

    export_peft(open_trained(plan, tmp_path / "trained"), tmp_path / "peft")

    config = config_in(tmp_path / "peft")
    assert config["target_modules"] == ["q_proj"]
    assert (config["layers_to_transform"], config["layers_pattern"]) == ([0], "layers")


@pytest.mark.parametrize("scaling", ["constant", "inverse", "inverse_sqrt"])
def test_every_way_to_scale_ranks_is_exact(scaling, tmp_path):
    sizes = {"lora@attention.query": 2, "lora@ffn.output": 3}
    opened, before = opened_on(tmp_path, sizes, rank_scaling=scaling)

    export_peft(opened, tmp_path / "peft")

    assert torch.allclose(logits_of(in_peft(opened, tmp_path / "peft"), "bert"), before, atol=1e-4)


def test_loha_is_exact_on_whole_layers(tmp_path):
    opened, before = opened_on(tmp_path, {"loha@attention.query": 2, "loha@ffn.input": 3})

    written = export_peft(opened, tmp_path / "peft")

    assert written.what == "peft LOHA"
    assert torch.allclose(logits_of(in_peft(opened, tmp_path / "peft"), "bert"), before, atol=1e-4)


def test_a_classifier_of_transformers_goes_along_in_the_adapter(tmp_path):
    plan = plan_on(tmp_path / "model", LORA)

    def fresh():
        return AutoModelForSequenceClassification.from_pretrained(plan.where.model, num_labels=2)

    model = moved(autopeft.apply(plan, fresh())).eval()
    autopeft.save(model, tmp_path / "trained")

    written = export_peft(open_trained(plan, tmp_path / "trained"), tmp_path / "peft")

    other = PeftModel.from_pretrained(fresh(), tmp_path / "peft")
    assert written.head is None
    assert torch.allclose(logits_of(other, "bert"), logits_of(model, "bert"), atol=1e-4)


# Prompts and prefixes


LEARNED = [
    ("llama", {"prompt_tuning@embeddings": 3}),
    ("gpt2", {"p_tuning@embeddings": 3}),
    ("opt", {"prompt_tuning@embeddings": 3}),
    ("t5", {"prompt_tuning@encoder.embeddings": 3}),
    ("llama", {"prefix@attention": 3}),
    ("phi3", {"prefix_mlp@attention": 3}),
    *[
        (family, {"prefix@attention": 3})
        for family in ("qwen2", "qwen3", "mistral", "gemma", "phi")
    ],
    *[(family, {"llama_adapter@attention": 3}) for family in ("llama", "mistral")],
]
ORDINARY = {"head_dim": 8, "num_attention_heads": 4, "hidden_size": 32}
"""Queries as wide as the model, without which peft's LLaMA-Adapter does not run."""


def logits_of_peft(model, family):
    """Return the scores of three texts; peft gives some for its prompts too."""
    inputs = padded_inputs(family)
    with torch.no_grad():
        found = model.eval()(**inputs).logits
    given = inputs.get("decoder_input_ids", inputs["input_ids"])
    mask = inputs.get("decoder_attention_mask", inputs.get("attention_mask"))
    return found[:, -given.shape[1] :][mask.bool()]


@pytest.mark.parametrize(("family", "sizes"), LEARNED)
def test_prompts_and_prefixes_give_equal_scores_in_peft(family, sizes, tmp_path):
    gated = "llama_adapter@attention" in sizes
    opened, before = opened_on(
        tmp_path, sizes, family, kind=None if family == "t5" else "causal_lm",
        changes=ORDINARY if gated else None,
    )  # fmt: skip

    written = export_peft(opened, tmp_path / "peft")

    after = logits_of_peft(in_peft(opened, tmp_path / "peft"), family)
    assert torch.allclose(after, before, atol=1e-4)
    assert (logits_of(autopeft.model_for(opened.plan), family) - before).abs().max() > 0.02
    assert written.drift.largest < 1e-4
    found = list(verify(opened.plan, tmp_path / "peft"))
    assert all(finding.right for finding in found), found
    assert "parameters" in {finding.what for finding in found}


def test_a_prompt_that_was_changed_on_disk_is_found(tmp_path):
    """The backbone is as it was, so the probe must look at what comes out with the prompt."""
    opened, _ = opened_on(tmp_path, {"prompt_tuning@embeddings": 3}, "llama")
    export_peft(opened, tmp_path / "peft")
    file = tmp_path / "peft" / "adapter_model.safetensors"
    save_file({name: value + 1 for name, value in load_file(file).items()}, file)

    wrong = [
        finding.what for finding in verify(opened.plan, tmp_path / "peft") if not finding.right
    ]

    assert wrong == ["files", "probe"]


@pytest.mark.parametrize(
    ("family", "sizes", "why"),
    [
        ("bert", {"prompt_tuning@embeddings": 3}, "peft leaves the prompts in front of what a hea"),
        ("vit", {"prompt_tuning@embeddings": 3}, "peft leaves the prompts in front of what a head"),
        (
            "bert",
            {"prefix@attention": 3},
            "in language models that continue a text, and this is cl",
        ),
        ("gpt2", {"prefix@attention": 3}, "where positions are rotations .*, and this is gpt2"),
        (
            "gpt2",
            {"llama_adapter@attention": 3},
            "the same in llama and mistral alone, and this is",
        ),
        ("llama", {"llama_adapter@attention": 3}, "takes the width of the queries for that of the"),
        ("llama", {"deep_prompt@attention": 3}, "peft has nothing like it beside LORA"),
    ],
)
def test_prompts_that_peft_has_otherwise_are_named(family, sizes, why, tmp_path):
    plan = plan_on(tmp_path / "model", sizes, family)

    assert re.search(why, next(in_the_way(plan, kind_of_adapter(plan))))


def changed(plan, change):
    """Change a plan's sizes by block and slot."""
    rows = tuple(
        tuple(change(block, slot.name, size) for slot, size in zip(plan.slots, row, strict=True))
        for block, row in enumerate(plan.configuration.sizes)
    )
    return replace(plan, configuration=type(plan.configuration)(rows))


def test_lengths_and_blocks_that_peft_cannot_have_are_named(tmp_path):
    plan = plan_on(tmp_path / "model", {"prefix@attention": 3}, "llama")
    longer = changed(plan, lambda block, _, size: size + 2 * block * bool(size))
    fewer = changed(plan, lambda block, _, size: size * (block == 0))
    both = {(0, "prefix@attention"), (1, "prefix_mlp@attention")}
    mixed = changed(plan, lambda block, name, _: 3 * ((block, name) in both))
    gated = plan_on(tmp_path / "gated", {"llama_adapter@attention": 3}, "llama", changes=ORDINARY)
    lowest = changed(gated, lambda block, _, size: size * (block == 0))
    topmost = changed(gated, lambda block, _, size: size * (block == 1))

    assert list(in_the_way(longer, "PREFIX_TUNING")) == [
        "prefix@attention in block 0: it is 3 long, and peft has one length, here 5"
    ]
    assert list(in_the_way(fewer, "PREFIX_TUNING")) == [
        "block 1: it has no prefix, and peft gives one to every block"
    ]
    assert "peft has one of these in a model, here prefix" in " ".join(
        in_the_way(mixed, "PREFIX_TUNING")
    )
    assert list(in_the_way(lowest, "ADAPTION_PROMPT")) == [
        "block 1: it has no llama_adapter, and peft gives one to every block from the lowest one on"
    ]
    assert list(in_the_way(topmost, "ADAPTION_PROMPT")) == []


def test_prefixes_that_peft_cannot_have_are_refused_with_what_to_do(tmp_path):
    opened, _ = opened_on(tmp_path, {"prefix@attention": 2}, "gpt2")

    with pytest.raises(
        PlanError, match=r"prefix cannot be merged either: load it with autopeft\.l"
    ):
        export_peft(opened, tmp_path / "peft")


def test_the_copy_of_the_plan_says_what_the_form_has_cost(tmp_path):
    opened, _ = opened_on(tmp_path, LORA)

    written = export_peft(opened, tmp_path / "peft")

    copy = autopeft.read_plan(tmp_path / "peft")
    assert copy.exported.plan == opened.plan.digest != copy.digest
    assert (copy.exported.format, copy.exported.drift) == ("peft", written.drift)


MIXED = {"lora@attention.query": 2, "serial_adapter@ffn.norm": 2, "ia3@ffn.output": 1}


def test_cells_that_peft_cannot_hold_are_named(tmp_path):
    opened, _ = opened_on(tmp_path, MIXED)

    with pytest.raises(PlanError) as refused:
        export_peft(opened, tmp_path / "peft")

    said = str(refused.value)
    assert "serial_adapter@ffn.norm in block 0: peft has nothing like it beside LORA" in said
    assert "ia3@ffn.output in block 1: one adapter of peft is of one kind, here LORA" in said
    assert "serial_adapter can be in no adapter of peft: load it with autopeft.load" in said
    assert not (tmp_path / "peft").exists()


def test_linear_cells_are_offered_a_conversion(tmp_path):
    opened, _ = opened_on(tmp_path, {"lora@attention.query": 2, "lokr@attention.value": 2})

    with pytest.raises(
        PlanError, match=r"all of it is linear: --convert lora writes the LoRA that"
    ):
        export_peft(opened, tmp_path / "peft")


def test_biases_alone_are_no_adapter_of_peft(tmp_path):
    opened, _ = opened_on(tmp_path, {"bitfit@block": 1})

    with pytest.raises(PlanError, match="peft saves biases only beside a LoRA, and there is none"):
        export_peft(opened, tmp_path / "peft")


def test_biases_are_not_spoken_of_where_there_are_none(tmp_path):
    plan = plan_on(tmp_path / "model", {"serial_adapter@ffn.norm": 2})

    reasons = list(in_the_way(plan, kind_of_adapter(plan)))

    assert reasons
    assert not any("biases" in reason for reason in reasons)


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
def test_a_conversion_keeps_what_its_ranks_can_hold(family, tmp_path):
    """Of full rank it is exact; of rank one it says how much is lost."""
    sizes = {"lora@attention.query": 2, "lokr@attention.value": 2, "ia3@ffn.output": 1}
    opened, before = opened_on(tmp_path, sizes, family)

    whole = export_peft(opened, tmp_path / "whole", convert=True)
    small = export_peft(opened, tmp_path / "small", convert=True, rank=1)

    after = logits_of(in_peft(opened, tmp_path / "whole"), family)
    assert torch.allclose(after, before, atol=0.05 * float(before.abs().max()))
    assert (small.rank, config_in(tmp_path / "small")["r"]) == (1, 1)
    assert 0 < whole.drift.mean < small.drift.mean


def test_a_conversion_takes_biases_and_norms_along(tmp_path):
    sizes = {"vera@attention.query": 2, "bitfit@attention.output": 1, "layer_norm@ffn.norm": 1}
    opened, before = opened_on(tmp_path, sizes)

    export_peft(opened, tmp_path / "peft", convert=True)

    assert torch.allclose(logits_of(in_peft(opened, tmp_path / "peft"), "bert"), before, atol=1e-3)


def test_what_has_no_changed_matrix_is_not_converted(tmp_path):
    opened, _ = opened_on(tmp_path, {"bitfit@block": 1})

    with pytest.raises(PlanError, match="no matrix has changed, so there is nothing to make a Lo"):
        export_peft(opened, tmp_path / "peft", convert=True)


def test_what_cannot_be_merged_is_not_converted(tmp_path):
    opened, _ = opened_on(tmp_path, MIXED)

    with pytest.raises(
        PlanError, match=r"serial_adapter@ffn\.norm cannot be merged: an activation"
    ):
        export_peft(opened, tmp_path / "peft", convert=True)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_merged_language_model_is_a_plain_directory_of_transformers(family, tmp_path):
    sizes = LORA | {"ia3@ffn.output": 1, "dora@ffn.input": 2}
    opened, before = opened_on(tmp_path, sizes, family)

    written = export_merged(opened, tmp_path / "merged")

    other = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert torch.allclose(logits_of(other, family), before, atol=1e-3)
    assert len(AutoTokenizer.from_pretrained(tmp_path / "merged")) > 0
    assert written.drift.largest < 1e-3
    assert autopeft.read_plan(tmp_path / "merged").exported.drift == written.drift


def test_a_merged_encoder_has_the_plans_head_beside_it(tmp_path):
    opened, before = opened_on(tmp_path, LORA | {"bitfit@ffn.output": 1})

    written = export_merged(opened, tmp_path / "merged")

    plain = autopeft.model_for(opened.plan)
    plain.backbone = AutoModel.from_pretrained(tmp_path / "merged")
    plain.load_state_dict(load_file(written.head), strict=False)
    assert torch.allclose(logits_of(plain, "bert"), before, atol=1e-4)


def test_what_does_not_merge_is_refused_with_the_reason(tmp_path):
    opened, _ = opened_on(tmp_path, {"prefix@attention": 2})

    with pytest.raises(PlanError, match=r"prefix@attention cannot be merged: attention has no pl"):
        export_merged(opened, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_weights_with_a_head_that_nobody_knows_are_not_opened(tmp_path):
    plan = plan_on(tmp_path / "model", LORA)

    class Strange(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = AutoModel.from_pretrained(plan.where.model)
            self.out = torch.nn.Linear(32, 7)

    autopeft.save(autopeft.apply(plan, Strange()), tmp_path / "trained")

    with pytest.raises(PlanError, match=r"trained in a Strange with a head \(.*\) that nei"):
        open_trained(plan, tmp_path / "trained").trained()


def test_an_adapter_that_is_not_exact_is_refused(tmp_path, monkeypatch):
    """Should another version of peft compute something else; here nothing is exact enough."""
    opened, _ = opened_on(tmp_path, LORA)
    monkeypatch.setattr("autopeft.production.exporting._EXACT", -1.0)

    with pytest.raises(
        PlanError, match=r"what peft makes of the plan differs by .* --format merged"
    ):
        export_peft(opened, tmp_path / "peft")
