"""Parallel adapters against what goes in and out of a sub-layer."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from autopeft.methods.parallel_adapter import Join, Tap
from autopeft.search_spaces.catalog import slots_of
from tests.builders import BERT_BASE
from tests.methods.filling import count, filled, hidden, shake, watched
from tests.models import tiny

ENDS = {
    "ffn": ("ffn.input", "ffn.output"),
    "attention": ("attention.query", "attention.output"),
    "cross": ("cross.query", "cross.output"),
}


def by_hand(x, state, slot):
    mine = [name for name in state if f"/{slot}/" in name]
    a = {name.split("/")[2]: state[name] for name in mine if name.split("/")[0] == mine[0][0]}
    inside = torch.clamp(x @ a["down"].T + a["down_bias"], min=0)
    return 4.0 * (inside @ a["up"] + a["up_bias"])


@pytest.mark.parametrize(
    ("family", "stack", "place"),
    [
        ("bert", "", "ffn"),
        ("bert", "", "attention"),
        ("gpt2", "", "attention"),
        ("llama", "", "ffn"),
        ("phi3", "", "ffn"),
        ("bart", "decoder.", "cross"),
        ("vit", "", "attention"),
    ],
)
def test_what_it_makes_of_the_input_is_added_to_the_output(tmp_path, family, stack, place):
    """Compared with the same sub-layer without it, on the very same input."""
    small = tiny(tmp_path, family)
    first, last = (f"{stack}{end}" for end in ENDS[place])
    with watched(small, last) as before:
        hidden(small)

    slot = f"parallel_adapter@{stack}{place}"
    with filled(small, {slot: 3}) as injection, watched(small, first, last) as seen:
        state = shake(injection)
        hidden(small)

    read, added = seen[first][0], seen[last][1] - before[last][1]
    torch.testing.assert_close(added, by_hand(read, state, slot), rtol=1e-4, atol=1e-4)
    assert added.abs().min() > 0


def test_a_tap_is_emptied_by_what_joins_it():
    tap = Tap(nn.Identity(), nn.Identity())
    join = Join(nn.Identity(), tap)
    tap(torch.ones(2))

    assert join(torch.ones(2)).tolist() == [2.0, 2.0]
    with pytest.raises(RuntimeError, match="the last module of the sub-layer ran before the first"):
        join(torch.ones(2))


def test_the_counts_are_the_published_ones():
    """He's PA 384 on BERT-base is 6.46% of it without biases; MAM's own is a bottleneck of 512."""
    pa = count(BERT_BASE, {"parallel_adapter@ffn": 384})

    assert pa == 12 * (2 * 768 * 384 + 384 + 768) == 7_091_712
    assert f"{(pa - 12 * (384 + 768)) / BERT_BASE.parameters:.2%}" == "6.46%"
    assert count(BERT_BASE, {"parallel_adapter@attention": 384}) == pa


def test_attention_without_matrices_at_its_ends_has_no_slot():
    sites = tuple(site for site in BERT_BASE.sites if site.place != "attention.query")
    names = {slot.name for slot in slots_of(replace(BERT_BASE, sites=sites))}

    assert "parallel_adapter@attention" not in names
    assert "multi_head_adapter@attention" not in names
    assert "parallel_adapter@ffn" in names
