"""Prefix tuning through a network (Li and Liang 2021, arXiv 2101.00190, section 4.3).

    [P_K; P_V] = U tanh(D E + d) + u        E: length x width of the block, D: 512 rows

Trained are E and the network, which makes training steadier; kept are the keys and values alone,
under the names of ``prefix``. Not the identity at initialisation. Count, kept: length · (keys +
values), their widths. Trained beside it and discarded, in each block: length · width + 512 · (width
+ 1 + keys + values) + keys + values. The paper's blocks share E and D; here each has its own,
because their lengths may differ. Cannot be merged.
"""

import torch
from torch import nn

from autopeft.methods.attending import Extra, give
from autopeft.methods.places import Attached, Block, Making
from autopeft.methods.scaffold import Scaffolded, linear, network

_HIDDEN = 512


class PrefixOfNetwork(nn.Module):
    """Keys and values of one attention module, computed while they are trained."""

    def __init__(self, rows: Scaffolded) -> None:
        super().__init__()
        self.rows = rows

    def forward(self) -> Extra:
        """Return what attention looks at."""
        keys_PI, values_PO = self.rows()
        return Extra(keys=keys_PI, values=values_PO)


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put ``size`` keys and values in front of an attention module's own."""
    place, width = block.sites[site], block.backbone.stack_of(block.number).width
    both = place.inputs + place.outputs
    layers = [linear(width, _HIDDEN), nn.Tanh(), linear(_HIDDEN, both)]
    rows = Scaffolded(
        making.size,
        {"keys": place.inputs, "values": place.outputs},
        network(layers, making.generator),
        torch.randn(making.size, width, generator=making.generator),
    )
    return Attached(
        parameters=rows.kept(),
        scaffold=rows.scaffold(),
        settle=rows.settle,
        dismantle=rows.dismantle,
        undo=give(block, site, "prefix_mlp", PrefixOfNetwork(rows)),
    )
