"""Blocks and sub-layers that are trained whole."""

import pytest

from autopeft.search_spaces.catalog import slots_of
from tests.methods.inside import hidden, inside, shake
from tests.models import tiny


def trained_of(small, sizes):
    with inside(small, sizes):
        return {n.partition(".")[2] for n, p in small.model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("family", ["bert", "gpt2", "phi3", "opt", "vit", "deberta-v2"])
def test_a_whole_block_is_all_that_its_module_holds(tmp_path, family):
    """Where a block is nothing but linear layers and norms, fused or not."""
    small = tiny(tmp_path, family)
    block = next(m for n, m in small.model.named_modules() if n.endswith(".0") or n == "h.0")
    expected = sum(p.numel() for p in block.parameters())

    [slot] = [s for s in slots_of(small.backbone) if s.name == "full@block"]

    assert slot.parameters(1) == expected


def test_cross_attention_alone_can_be_trained(tmp_path):
    """Four matrices with their biases in each of the decoder's blocks, and no norm."""
    small = tiny(tmp_path, "bart")

    trained = trained_of(small, {"full@decoder.cross": 1})

    assert trained == {
        f"layers.{block}.encoder_attn.{name}_proj.{part}"
        for block in range(2)
        for name in ("q", "k", "v", "out")
        for part in ("weight", "bias")
    }


def test_what_is_no_layer_of_the_block_stays_frozen(tmp_path):
    """T5 keeps a table of relative positions in its first block."""
    small = tiny(tmp_path, "mt5")

    trained = trained_of(small, {"full@encoder.block": 1})

    assert "block.0.layer.0.SelfAttention.q.weight" in trained
    assert "block.1.layer.1.layer_norm.weight" in trained
    assert not any("relative" in name or "final" in name for name in trained)


def test_a_norm_that_only_some_blocks_have_stays_frozen(tmp_path):
    """ModernBERT's first block has none before attention: all rows must cost the same."""
    small = tiny(tmp_path, "modernbert")

    trained = trained_of(small, {"full@block": 1})

    assert "0.attn.Wqkv.weight" in trained
    assert "1.mlp_norm.weight" in trained
    assert not any("attn_norm" in name for name in trained)


def test_merged_blocks_stay_behind(tmp_path):
    small = tiny(tmp_path, "gpt2")
    before = hidden(small)

    with inside(small, {"full@ffn": 1}) as injection:
        shake(injection)
        expected = hidden(small)
        injection.merge()

    assert (expected - before).abs().max() > 0.1
    assert (hidden(small) == expected).all()
