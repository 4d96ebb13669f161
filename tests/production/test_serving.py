"""Whether vLLM takes a plan, why not, and what it would take instead."""

import re

import pytest

from autopeft.production.serving import vllm_verdict
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
    assert found.sentence() == "vLLM takes it with --enable-lora --max-lora-rank 8"


def test_ranks_above_the_cap_are_cut_to_it(folder):
    found = verdict(folder, {"lora@attention.query": 20, "lora@ffn.input": 4})

    assert not found.takes
    assert "layers.0.self_attn.q_proj has rank 20, and the server's cap is 16" in found.reasons[0]
    assert (found.cap, found.needs) == (16, 32)
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


def test_other_tasks_are_to_be_served_merged(folder):
    found = verdict(folder, {"lora@attention.query": 4}, "bert")

    assert not found.takes
    assert "this plan is for classification: serve it merged" in found.reasons[0]
    assert found.nearest is None


def test_nothing_is_near_where_nothing_can_be_lora(folder):
    assert verdict(folder, {"prefix@attention": 4}).nearest is None
