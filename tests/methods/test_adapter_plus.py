"""Adapter+ after whole blocks."""

import pytest
import torch
from torch.nn.functional import gelu

from tests.builders import BERT_BASE
from tests.methods.filling import count, filled, hidden, shake
from tests.models import padded_inputs, tiny


@pytest.mark.parametrize("family", ["bert", "vit", "gpt2", "llama", "dinov2"])
def test_it_reads_and_adds_to_what_a_block_returns(tmp_path, family):
    """The hidden states that the model hands out before its last norm are those of the blocks."""
    small = tiny(tmp_path, family)
    inputs = padded_inputs(family)
    with torch.no_grad():
        before = small.model(**inputs, output_hidden_states=True).hidden_states[1]

    with filled(small, {"adapter_plus@block": 3}) as injection:
        a = {name[2:].split("/")[1]: v for name, v in shake(injection).items() if name[0] == "0"}
        with torch.no_grad():
            after = small.model(**inputs, output_hidden_states=True).hidden_states[1]

    inside = gelu(before @ a["down"].T + a["down_bias"])
    expected = before + a["gain"] * (inside @ a["up"] + a["up_bias"])
    torch.testing.assert_close(after, expected, rtol=1e-4, atol=1e-4)


def test_blocks_that_return_more_than_hidden_states_keep_the_rest(tmp_path):
    small = tiny(tmp_path, "t5")
    before = hidden(small)

    with filled(
        small, {"adapter_plus@encoder.block": 3, "adapter_plus@decoder.block": 3}
    ) as injection:
        torch.testing.assert_close(hidden(small), before)
        shake(injection)
        assert (hidden(small) - before).abs().max() > 0.01


def test_the_count_is_the_published_one():
    """ViT-B, rank 8: 0.17M; with the mean VTAB head, the 0.20M of the paper's table 4."""
    assert count(BERT_BASE, {"adapter_plus@block": 8}) == 12 * (2 * 768 * 8 + 8 + 2 * 768)
    assert count(BERT_BASE, {"adapter_plus@block": 8}) == 165_984
