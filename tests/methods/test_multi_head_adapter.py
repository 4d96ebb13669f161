"""The multi-head adapter against one head at a time."""

import pytest
import torch
from torch import nn
from torch.nn.functional import gelu

from autopeft.methods.multi_head_adapter import HeadBottlenecks, JoinBefore, QueryTap
from tests.builders import BERT_BASE
from tests.methods.filling import count, filled, hidden, shake, watched
from tests.models import tiny


def by_hand(queries, down, up):
    """Each head's gelu(q Kᵀ) V, side by side."""
    heads = down.shape[1]
    parts = queries.chunk(heads, dim=-1)
    return torch.cat(
        [gelu(q @ down[:, head].T) @ up[:, head] for head, q in enumerate(parts)], dim=-1
    )


def test_it_is_a_bottleneck_for_each_head():
    generator = torch.Generator().manual_seed(0)
    adapter = HeadBottlenecks(3, 12, 2, 0.5, generator)
    with torch.no_grad():
        adapter.up.normal_(generator=generator)
    queries = torch.randn(2, 5, 12, generator=generator)

    torch.testing.assert_close(adapter(queries), 0.5 * by_hand(queries, adapter.down, adapter.up))


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "modernbert"])
def test_it_adds_to_what_the_last_matrix_reads(tmp_path, family):
    """Of the first block's last matrix, which is linear."""
    small = tiny(tmp_path, family)
    start = small.backbone.site("attention.query").start or 0
    width = small.backbone.site("attention.query").outputs
    with watched(small, "attention.output") as before:
        hidden(small)

    with (
        filled(small, {"multi_head_adapter@attention": 2}) as injection,
        watched(small, "attention.query", "attention.output") as seen,
    ):
        state = shake(injection)
        last = small.model.get_submodule(
            small.backbone.module_path(small.backbone.site("attention.output"), 0)
        )
        hidden(small)
        queries = seen["attention.query"][1][..., start : start + width]
        down, up = (state[f"0/multi_head_adapter@attention/{n}"] for n in ("down", "up"))
        read = before["attention.output"][0] + by_hand(queries, down, up)
        expected = last.base(read).detach()

    torch.testing.assert_close(seen["attention.output"][1], expected, rtol=1e-4, atol=1e-4)
    assert (expected - before["attention.output"][1]).abs().max() > 1e-3


def test_a_tap_is_emptied_by_what_joins_it():
    adapter = HeadBottlenecks(1, 2, 1, 1.0, torch.Generator().manual_seed(0))
    join = JoinBefore(nn.Identity(), QueryTap(nn.Identity(), adapter, 0, 2))

    with pytest.raises(RuntimeError, match="the output of attention ran before its queries"):
        join(torch.ones(2))


def test_it_costs_as_much_as_a_prefix_of_that_length():
    assert count(BERT_BASE, {"multi_head_adapter@attention": 30}) == 12 * 2 * 30 * 768
