"""Low-rank adapter: a bottleneck of fixed width whose two matrices are low-rank products.

    f' = f + s · ((gelu(f (D₁ᵀ D₂) + b)) (U₁ᵀ U₂) + c)        D₁: r x width, D₂: r x h,
                                                            U₁: r x h,     U₂: r x width

The bottleneck h is a 32nd of the width and r is 1 in S3PET (Hu et al. 2022, arXiv 2206.07382),
after attention and after the feed-forward layer. Identity at initialisation: U₂ and c are zero; the
others are drawn as Glorot does. Count: 2 · (width + h) · rank + width + h. Cannot be merged: it has
an activation inside.

Axes: ... any leading axes, D width, H bottleneck, R rank.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from autopeft.kernels.lora_linear.operator import low_rank
from autopeft.methods.places import Attached, Block, Making
from autopeft.methods.serial_adapter import in_stream
from autopeft.search_spaces.catalog.additive import low_rank_bottleneck


class LowRankAdapter(nn.Module):
    """Down, GELU (tanh form), up, scale. Gives zero at initialisation."""

    def __init__(self, width: int, rank: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        self.scale = scale
        narrow = low_rank_bottleneck(width)

        def drawn(columns: int) -> nn.Parameter:
            factor = torch.empty(rank, columns)
            return nn.Parameter(nn.init.xavier_uniform_(factor, generator=generator))

        self.down_in = drawn(width)
        self.down_out = drawn(narrow)
        self.down_bias = nn.Parameter(torch.zeros(narrow))
        self.up_in = drawn(narrow)
        self.up_out = nn.Parameter(torch.zeros(rank, width))
        self.up_bias = nn.Parameter(torch.zeros(width))

    def forward(self, x_D: Tensor) -> Tensor:
        """Return what the adapter adds, shape ``(..., D)``."""
        down_H = low_rank(x_D, self.down_in, self.down_out, 1.0) + self.down_bias
        hidden_H = gelu(down_H, approximate="tanh")
        return self.scale * (low_rank(hidden_H, self.up_in, self.up_out, 1.0) + self.up_bias)


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put an adapter whose matrices have rank ``size`` after a linear layer."""
    adapter = LowRankAdapter(block.sites[site].outputs, making.size, making.scale, making.generator)
    undo = in_stream(block, site, adapter)
    return Attached(parameters=dict(adapter.named_parameters()), undo=undo)
