"""Serial adapters by hand, at both kinds of place, and against the published counts."""

from dataclasses import replace

import torch
from torch import nn

from autopeft.methods.bottleneck import Bottleneck
from autopeft.methods.serial_adapter import AdapterAfter, AdapterAtNorm
from autopeft.search_spaces.catalog import slots_of
from tests.builders import BERT_BASE
from tests.methods.filling import count


def an_adapter(width=2, scale=1.0):
    """Two in, one hidden that is relu(x0 - x1 + 1), and (3, -2) times it, plus (0, 1), out."""
    adapter = Bottleneck(width, width, 1, scale, torch.Generator().manual_seed(0))
    with torch.no_grad():
        adapter.down.copy_(torch.tensor([[1.0, -1.0]]))
        adapter.down_bias.fill_(1.0)
        adapter.up.copy_(torch.tensor([[3.0, -2.0]]))
        adapter.up_bias.copy_(torch.tensor([0.0, 1.0]))
    return adapter


class Double(nn.Module):
    """A sub-layer, or a norm, that is easy to follow."""

    def forward(self, x):
        return 2 * x


def test_after_a_matrix_it_reads_and_adds_to_the_output():
    """Output (4, 2), hidden 3; and (2, 6), where the hidden unit is cut off."""
    layer = AdapterAfter(Double(), an_adapter())

    assert layer(torch.tensor([2.0, 1.0])).tolist() == [4 + 9, 2 - 6 + 1]
    assert layer(torch.tensor([1.0, 3.0])).tolist() == [2.0, 6.0 + 1]


def test_at_a_norm_it_reads_behind_it_and_adds_before_it():
    """Norm (4, 2), hidden 3, added (9, -5): 2 · (2 + 9) and 2 · (1 - 5)."""
    layer = AdapterAtNorm(Double(), an_adapter())

    assert layer(torch.tensor([2.0, 1.0])).tolist() == [22.0, -8.0]


def test_the_scale_takes_the_last_bias_too():
    layer = AdapterAfter(Double(), an_adapter(scale=0.5))

    assert layer(torch.tensor([2.0, 1.0])).tolist() == [4 + 4.5, 2 - 2.5]


def test_the_counts_are_the_published_ones():
    """Pfeiffer 48, as UniPELT and `adapters` count it; Houlsby 48; NOAH's Adapter-8 on ViT-B."""
    assert count(BERT_BASE, {"serial_adapter@ffn.norm": 48}) == 894_528
    houlsby = {"serial_adapter@attention.output": 48, "serial_adapter@ffn.output": 48}
    assert count(BERT_BASE, houlsby) == 2 * 894_528
    assert count(BERT_BASE, {"serial_adapter@ffn.output": 8}) == 156_768


def test_where_norms_open_sub_layers_there_is_no_place_at_a_norm():
    stack = replace(BERT_BASE.stacks[0], norm="pre")

    names = {slot.name for slot in slots_of(replace(BERT_BASE, stacks=(stack,)))}

    assert {"serial_adapter@ffn.output", "compacter@ffn.output"} <= names
    assert not {"serial_adapter@ffn.norm", "compacter@ffn.norm"} & names
