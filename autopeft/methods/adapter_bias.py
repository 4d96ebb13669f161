"""AdapterBias: one vector, added to every token as much as that token asks for (arXiv 2205.00305).

    y = x Wᵀ + b + s · (x wᵀ + a) v        w: inputs, a: a number, v: outputs

x is what the last matrix of the feed-forward layer reads (Fu et al. 2022, equation 4; the paper
trains the norm after it as well, which is a slot of its own here). Identity at initialisation: v is
zero. Count: inputs + outputs + 1. Merges: the map is linear, so W becomes W + s · vᵀ w and b
becomes b + s · a · v. A matrix without a bias could not take the latter: there a is left out, and
the count is one less.
"""

import torch
from torch import Tensor, nn

from autopeft.methods.linears import beside, bias_of, weight_of
from autopeft.methods.places import Attached, Block, Making


class TokenShift(nn.Module):
    """A trained vector times a trained number for each token; zero at initialisation."""

    def __init__(
        self, inputs: int, outputs: int, scale: float, generator: torch.Generator, *, bias: bool
    ) -> None:
        super().__init__()
        self.scale = scale
        drawn = torch.empty(1, inputs)
        nn.init.kaiming_uniform_(drawn, a=5**0.5, generator=generator)
        self.weight = nn.Parameter(drawn)
        self.bias = nn.Parameter(torch.zeros(1)) if bias else None
        self.vector = nn.Parameter(torch.zeros(outputs))

    def forward(self, x_I: Tensor) -> Tensor:
        """Return what is added, shape ``(..., outputs)``."""
        return self.scale * nn.functional.linear(x_I, self.weight, self.bias) * self.vector

    def merge_into(self, weight_OI: Tensor, bias_O: Tensor | None) -> None:
        """Add the shift to a matrix and its bias."""
        with torch.no_grad():
            weight_OI += (self.scale * self.vector[:, None] * self.weight).to(weight_OI.dtype)
            if bias_O is not None and self.bias is not None:
                bias_O += (self.scale * self.bias * self.vector).to(bias_O.dtype)


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put a token-dependent shift beside the linear layer at a site."""
    place = block.sites[site]
    shift = TokenShift(place.inputs, place.outputs, making.scale, making.generator, bias=place.bias)
    return Attached(
        parameters=dict(shift.named_parameters()),
        undo=beside(block, site, shift),
        merge=lambda: shift.merge_into(weight_of(block, site), bias_of(block, site)),
    )
