"""Prefix tuning: learned keys and values in front of the sequence (Li and Liang 2021, 2101.00190).

    Attn(Q, [P_K; K], [P_V; V])        P_K: length x key width, P_V: length x value width

Under grouped-query attention the widths are those of the fewer keys and values. Not the identity at
initialisation: the softmax always gives the prefix some weight. Count: length · (key width + value
width). Cannot be merged. The vectors are trained directly; ``prefix_mlp`` trains them through the
paper's reparametrising network.

The prefix has no position, and the tokens keep theirs: rotary positions leave its keys alone, and
T5's position bias is zero for it. The `peft` library, which feeds a prefix as past keys and values,
moves the tokens' positions on by its length; with equal positions both give the same.
"""

import torch
from torch import nn

from autopeft.methods.attending import Extra, give
from autopeft.methods.places import Attached, Block, Making

_SPREAD = 0.02


class Prefix(nn.Module):
    """Learned keys and values of one attention module."""

    def __init__(self, length: int, keys: int, values: int, generator: torch.Generator) -> None:
        super().__init__()
        self.keys = nn.Parameter(torch.randn(length, keys, generator=generator) * _SPREAD)
        self.values = nn.Parameter(torch.randn(length, values, generator=generator) * _SPREAD)

    def forward(self) -> Extra:
        """Return what attention looks at."""
        return Extra(keys=self.keys, values=self.values)


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put ``size`` learned keys and values in front of an attention module's own."""
    place = block.sites[site]
    prefix = Prefix(making.size, place.inputs, place.outputs, making.generator)
    return Attached(
        parameters=dict(prefix.named_parameters()), undo=give(block, site, "prefix", prefix)
    )
