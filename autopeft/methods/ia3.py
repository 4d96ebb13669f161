"""(IA)³: keys, values and the feed-forward layer's inside are rescaled (arXiv 2205.05638).

    k' = l_k * (x W_kᵀ + b)        v' = l_v * (x W_vᵀ + b)        f = (l_f * a) W_fᵀ + b

a is what the last matrix of the feed-forward layer reads (Liu et al. 2022, section 3.3). Identity
at initialisation: the factors are one. Count: outputs of the key and of the value, inputs of the
last feed-forward matrix. Merges: diag(l) W and l * b, or W diag(l) at the feed-forward layer.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from autopeft.kernels.scale_shift.operator import scale_shift
from autopeft.methods.linears import weight_of
from autopeft.methods.places import Attached, Block, Making
from autopeft.methods.ssf import merge_modulation, modulate


class RescaledInput(nn.Module):
    """A linear layer whose inputs are multiplied by trained factors."""

    def __init__(self, base: nn.Module, factors: nn.Parameter) -> None:
        super().__init__()
        self.base = base
        self.factors = factors

    def forward(self, x_I: Tensor) -> Tensor:
        """Return shape ``(..., outputs)``."""
        y_O: Tensor = self.base(scale_shift(x_I, self.factors))
        return y_O


def attach(block: Block, site: str, _making: Making) -> Attached:
    """Rescale what a key or a value matrix returns, or what the last feed-forward matrix reads."""
    place = block.sites[site]
    if place.place != "ffn.output":
        factors = nn.Parameter(torch.ones(place.outputs))
        undo, merge = modulate(block, site, factors), merge_modulation(block, site, factors)
    else:
        factors = nn.Parameter(torch.ones(place.inputs))
        undo = block.wrap(site, lambda base: RescaledInput(base, factors))
        merge = _merge_inputs(block, site, factors)
    return Attached(parameters={"factors": factors}, undo=undo, merge=merge)


def _merge_inputs(block: Block, site: str, factors: nn.Parameter) -> Callable[[], None]:
    def merge() -> None:
        with torch.no_grad():
            weight_OI = weight_of(block, site)
            weight_OI.copy_(weight_OI * factors)

    return merge
