"""AdaptFormer: what it reads, and what it costs."""

import pytest
import torch
from torch.nn.functional import layer_norm

from tests.builders import BERT_BASE
from tests.methods.filling import count, filled, hidden, shake, watched
from tests.models import tiny


def by_hand(x, state, slot):
    mine = [name for name in state if f"/{slot}/" in name]
    a = {name.split("/")[2]: state[name] for name in mine if name.split("/")[0] == mine[0][0]}
    if "norm_weight" in a:
        x = layer_norm(x, x.shape[-1:], a["norm_weight"], a["norm_bias"], 1e-5)
    inside = torch.clamp(x @ a["down"].T + a["down_bias"], min=0)
    return 0.1 * (inside @ a["up"] + a["up_bias"])


@pytest.mark.parametrize("method", ["adaptformer", "adaptformer_norm"])
@pytest.mark.parametrize(
    ("family", "reads"),
    [("vit", "ffn.norm"), ("llama", "ffn.norm"), ("phi", "ffn.input"), ("bert", "ffn.input")],
)
def test_it_reads_the_stream_and_adds_to_the_feed_forward_layer(tmp_path, family, reads, method):
    """Before the norm that opens a sub-layer; where there is none between, what the layer reads."""
    small = tiny(tmp_path, family)
    with watched(small, "ffn.output") as before:
        hidden(small)

    with (
        filled(small, {f"{method}@ffn": 3}) as injection,
        watched(small, reads, "ffn.output") as seen,
    ):
        state = shake(injection)
        hidden(small)

    added = seen["ffn.output"][1] - before["ffn.output"][1]
    expected = by_hand(seen[reads][0], state, f"{method}@ffn")
    torch.testing.assert_close(added, expected, rtol=1e-4, atol=1e-5)


def test_the_count_is_the_published_one_without_a_norm_of_its_own():
    """AdaptFormer-64 on ViT-B: 1.27M with a head of 100 classes (the paper prints 1.26M)."""
    found = count(BERT_BASE, {"adaptformer@ffn": 64})

    assert found == 12 * (2 * 768 * 64 + 64 + 768) == 1_189_632
    assert found + 769 * 100 == 1_266_532
    assert count(BERT_BASE, {"adaptformer_norm@ffn": 64}) == found + 12 * 2 * 768
