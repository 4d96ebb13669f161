"""Whether vLLM and TGI take a plan, why not, and what they would take instead."""

import re
from dataclasses import replace

import pytest

from autopeft.production.serving import tgi_verdict, verdicts, vllm_verdict
from tests.production.plans import plan_on


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("serving")


def verdict(folder, sizes, family="llama", cap=16):
    return vllm_verdict(plan_on(folder / family, sizes, family), cap)


def test_plain_lora_on_a_language_model_is_taken(folder):
    found = verdict(folder, {"lora@attention.query": 8, "adalora@attention.value": 4})

    assert found.takes
    assert found.nearest is None
    assert found.sentence() == "vLLM takes it, started with --enable-lora --max-lora-rank 8"


def test_ranks_above_the_cap_are_cut_to_it(folder):
    found = verdict(folder, {"lora@attention.query": 20, "lora@ffn.input": 4})

    assert not found.takes
    assert "layers.0.self_attn.q_proj has rank 20, and the server's cap is 16" in found.reasons[0]
    assert (found.started, found.needs) == ("--enable-lora --max-lora-rank 16", 32)
    assert found.nearest.summary(found.slots) == "lora@attention.query 16; lora@ffn.input 4"
    assert verdict(folder, {"lora@attention.query": 20}, cap=32).takes


def test_ranks_of_slices_add_up_in_a_fused_matrix(folder):
    found = verdict(folder, {"lora@attention.query": 10, "lora@attention.value": 10}, "gpt2")

    assert "h.0.attn.c_attn has rank 20" in found.reasons[0]


@pytest.mark.parametrize(
    ("sizes", "reason", "nearest"),
    [
        ({"dora@attention.query": 4}, "does not support DoRA .* vllm#6983", "attention.query 4"),
        (
            {"lora@attention.key": 4, "layer_norm@ffn.norm": 1},
            "takes no modules_to_save .* vllm#9280",
            "attention.key 4",
        ),
        (
            {"lora@attention.key": 4, "bitfit@attention.query": 1},
            "add no biases",
            "attention.query 1; lora@attention.key 4",
        ),
        ({"ia3@attention.key": 1}, "with --format peft --convert lora", "attention.key 1"),
        (
            {"lora@attention.key": 4, "prefix@attention": 4},
            "its adapters are LoRA, and here attention has no place for more keys",
            "attention.key 4",
        ),
    ],
)
def test_what_it_does_not_take_is_named_with_the_source(folder, sizes, reason, nearest):
    found = verdict(folder, sizes)

    assert not found.takes
    assert any(re.search(reason, said) for said in found.reasons)
    assert nearest in found.nearest.summary(found.slots)


def test_other_tasks_are_to_be_served_merged_and_no_other_reason_is_given(folder):
    plan = plan_on(folder / "bert", {"dora@attention.query": 24, "prefix@attention": 2}, "bert")

    for found in verdicts(plan):
        assert not found.takes
        assert len(found.reasons) == 1
        assert "this plan is for classification: serve it merged" in found.reasons[0]
        assert found.nearest is None


def test_nothing_is_near_where_nothing_can_be_lora(folder):
    assert verdict(folder, {"prefix@attention": 4}).nearest is None


# TGI


def by_tgi(folder, sizes, family="llama"):
    return tgi_verdict(plan_on(folder / family, sizes, family))


def test_one_rank_in_all_blocks_is_taken_by_tgi(folder):
    """Rank 8 is not padded, so that the scale is the same for every projection."""
    found = by_tgi(folder, {"lora@attention.query": 8, "adalora@ffn.output": 8})

    assert found.takes
    assert found.nearest is None
    assert found.sentence() == "TGI takes it, started with --lora-adapters"


@pytest.mark.parametrize(
    ("sizes", "reason", "nearest"),
    [
        (
            {"lora@attention.query": 4},
            r"ranks are 4: it needs one rank for all, 8 or a multiple of 16.*adapters/lora\.py",
            "lora@attention.query 8",
        ),
        (
            {"lora@attention.query": 8, "lora@attention.value": 16},
            r"ranks are 8, 16: it needs one rank for all",
            "lora@attention.query 16; lora@attention.value 16",
        ),
        (
            {"dora@attention.query": 16},
            r"drop DoRA's magnitudes unsaid .*reads no use_dora",
            "lora@attention.query 16",
        ),
        (
            {"lora@attention.key": 8, "layer_norm@ffn.norm": 1},
            "drop them unsaid .*reads no modules_to_save",
            "lora@attention.key 8",
        ),
        (
            {"lora@attention.key": 8, "prefix@attention": 4},
            "its adapters are LoRA, and here attention has no place for more keys",
            "lora@attention.key 8",
        ),
        (
            {"ia3@attention.key": 1},
            "with --format peft --convert lora",
            "lora@attention.key 8",
        ),
    ],
)
def test_what_tgi_does_not_take_is_named_with_the_source(folder, sizes, reason, nearest):
    found = by_tgi(folder, sizes)

    assert not found.takes
    assert any(re.search(reason, said) for said in found.reasons)
    assert found.nearest.summary(found.slots) == nearest
    assert tgi_verdict(replace_table(folder, found)).takes


def replace_table(folder, found):
    """The plan that a verdict says would be taken."""
    plan = plan_on(folder / "llama", {"lora@attention.query": 8}, "llama")
    return replace(
        plan, slots=found.slots, configuration=found.nearest,
        parameters=found.nearest.parameters(found.slots),
    )  # fmt: skip


def test_a_projection_that_lacks_a_block_is_left_out_by_tgi(folder):
    plan = plan_on(folder / "llama", {"lora@attention.query": 8, "lora@ffn.output": 8}, "llama")
    rows = plan.configuration.sizes
    query = [slot.name for slot in plan.slots].index("lora@attention.query")
    first = (*rows[0][:query], 0, *rows[0][query + 1 :])
    sizes = type(plan.configuration)((first, *rows[1:]))

    found = tgi_verdict(replace(plan, configuration=sizes))

    assert re.search(r"q_proj is adapted in 1 of 2 blocks, and it leaves", found.reasons[0])
    assert found.nearest.sizes[0] == found.nearest.sizes[1]


def test_models_whose_projections_have_other_names_are_to_be_merged_for_tgi(folder):
    found = by_tgi(folder, {"lora@attention.query": 8}, "gpt2")

    assert "h.0.attn.c_attn is none of the projections that it looks for" in found.reasons[0]
    assert found.nearest is None


def test_what_tgi_would_take_stays_within_the_budget(folder):
    plan = plan_on(folder / "llama", {"lora@attention.query": 4, "lora@ffn.output": 1}, "llama")
    small = replace(plan, provenance=replace(plan.provenance, ceiling=1200))

    nearest = tgi_verdict(small).nearest

    assert nearest.summary(tgi_verdict(small).slots) == "lora@attention.query 8"
    assert (
        tgi_verdict(replace(small, provenance=replace(plan.provenance, ceiling=9))).nearest is None
    )


def test_both_servers_are_asked(folder):
    plan = plan_on(folder / "llama", {"lora@attention.query": 8}, "llama")

    assert [found.server for found in verdicts(plan)] == ["vLLM", "TGI"]
