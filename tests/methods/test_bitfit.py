"""BitFit at blocks, layers, slices, and where there is no bias; S3PET's switches."""

import pytest
import torch
from transformers import AutoConfig, AutoModel

from autopeft.architectures.reading import architecture_of
from autopeft.errors import PlanError
from autopeft.methods.places import Block
from autopeft.search_spaces.baselines import columns
from autopeft.search_spaces.catalog import slots_of
from autopeft.search_spaces.configuration import Configuration
from autopeft.training.shape import shape_of
from tests.builders import BERT_BASE
from tests.methods.inside import hidden, inside, shake
from tests.models import tiny

S3PET = (
    *(f"lora@attention.{name}" for name in ("query", "key", "value", "output")),
    *("lora@ffn.input", "lora@ffn.output"),
    *(f"bitfit@attention.{name}" for name in ("query", "key", "value", "output")),
    *("bitfit@ffn.input", "bitfit@ffn.output", "bitfit@*norm", "ln_fit@*norm"),
    *("low_rank_adapter@attention.output", "low_rank_adapter@ffn.output"),
)
"""One switch a block for each, cross-attention's matrices left out."""


@pytest.fixture(scope="module")
def t5_large():
    config = AutoConfig.for_model(
        "t5", d_model=1024, d_kv=64, d_ff=4096, num_layers=24, num_decoder_layers=24, num_heads=16
    )
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    return shape_of(model, architecture_of("t5"), name="t5-large", digest="d")


def slot(name, slots):
    return next(slot for slot in slots if slot.name == name)


def test_a_block_of_bert_base_has_8448_biases():
    """Query, key, value, output and two norms of 768, the feed-forward pair, in twelve blocks."""
    slots = slots_of(BERT_BASE)

    one_block = slot("bitfit@block", slots).parameters(1)

    assert one_block == 4 * 768 + 3072 + 768 + 2 * 768 == 8448
    assert sum(s.parameters(1) for s in slots if s.method == "bitfit" and s.site != "block") == 8448


def test_the_switches_of_s3pet_are_all_there(t5_large):
    """18 in each encoder block, 20 in each decoder block, 2 at the norm that closes each stack."""
    slots = slots_of(t5_large)
    chosen = sorted({column for pattern in S3PET for column in columns(pattern, slots)})

    switches = {
        stack: [sum(slots[c].has(row) for c in chosen if slots[c].stack == stack) for row in rows]
        for stack, rows in (("encoder", range(24)), ("decoder", range(24, 48)))
    }

    assert switches["encoder"] == [18] * 23 + [20]
    assert switches["decoder"] == [20] * 23 + [22]
    assert sum(map(sum, switches.values())) == 24 * 18 + 24 * 20 + 4 == 916


def test_rank_one_on_all_of_s3pets_matrices_is_its_published_count(t5_large):
    slots = slots_of(t5_large)
    lora = {column for pattern in S3PET[:6] for column in columns(pattern, slots)}
    row = tuple(int(column in lora) for column in range(len(slots)))
    sizes = tuple(
        tuple(size * slots[c].has(block) for c, size in enumerate(row)) for block in range(48)
    )

    assert Configuration(sizes).parameters(slots) == 884_736


def test_t5_has_no_biases_that_a_whole_block_could_train(t5_large):
    slots = slots_of(t5_large)

    assert not [s for s in slots if s.method == "bitfit" and s.place == "block"]
    assert slot("bitfit@encoder.attention.query", slots).parameters(1) == 1024
    assert slot("bitfit@decoder.final.norm", slots).blocks == (47, 48)


def test_a_layer_without_a_bias_is_given_one(tmp_path):
    """On Llama: a linear layer, a norm, and what they give with and without."""
    small = tiny(tmp_path, "llama")
    block = Block(small.model, small.backbone, 0)
    linear, x = block.original("ffn.output"), torch.randn(2, 3, 48)
    norm, z = block.original("ffn.norm"), torch.randn(2, 3, 32)
    without, normed = linear(x), norm(z)

    with inside(small, {"bitfit@ffn.output": 1, "bitfit@ffn.norm": 1}) as injection:
        shake(injection)
        state = injection.state()
        around = small.model.layers[0].post_attention_layernorm

        torch.testing.assert_close(linear(x), without + state["0/bitfit@ffn.output/bias"])
        torch.testing.assert_close(around(z), normed + state["0/bitfit@ffn.norm/bias"])
    assert linear.bias is None
    assert small.model.layers[0].post_attention_layernorm is norm


def test_a_slice_of_a_fused_matrix_is_trained_alone(tmp_path):
    """GPT-2 has one bias for query, key and value: only the values' 32 of the 96 move."""
    small = tiny(tmp_path, "gpt2")
    fused, x = small.model.h[0].attn.c_attn, torch.randn(2, 3, 32)
    before = fused(x)

    with inside(small, {"bitfit@attention.value": 1}) as injection:
        torch.testing.assert_close(small.model.h[0].attn.c_attn(x), before)
        shift = torch.arange(32.0)
        injection.state()["0/bitfit@attention.value/bias"].add_(shift)
        after = small.model.h[0].attn.c_attn(x)

        assert injection.count() == 2 * 32
    torch.testing.assert_close(after[..., 64:], before[..., 64:] + shift, rtol=1e-5, atol=1e-5)
    assert torch.equal(after[..., :64], before[..., :64])


def test_a_bias_that_was_added_cannot_be_merged(tmp_path):
    small = tiny(tmp_path, "llama")

    with (
        inside(small, {"bitfit@attention.query": 1}) as injection,
        pytest.raises(
            PlanError,
            match=r"bitfit@attention\.query cannot be merged: biases: the backbone's own are "
            r"replaced; a layer that came without a bias has no place for one",
        ),
    ):
        injection.merge()


def test_merged_biases_stay_behind(tmp_path):
    small = tiny(tmp_path, "gpt2")
    before = hidden(small)

    with inside(small, {"bitfit@attention.key": 1, "bitfit@attention.value": 1}) as injection:
        shake(injection)
        expected = hidden(small)
        injection.merge()

    assert (expected - before).abs().max() > 0.01
    torch.testing.assert_close(hidden(small), expected, rtol=1e-4, atol=1e-5)
