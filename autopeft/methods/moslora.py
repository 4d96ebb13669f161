"""MoSLoRA: LoRA with a trained mixer between its factors (Wu et al. 2024, arXiv 2406.11909).

    y = x Wᵀ + b + s · ((x Dᵀ) Mᵀ) U        D: rank x inputs, M: rank x rank, U: rank x outputs

Identity at initialisation: U is zero; D and M are drawn uniformly as the authors' code does
(Kaiming, a = sqrt(5)). The scale is a constant, unlike the paper's alpha / r.
Count: rank · (inputs + outputs) + rank². Merges into W as W + s · Uᵀ M D.
"""

import torch
from torch import Tensor, nn

from autopeft.methods.linears import attach_beside
from autopeft.methods.places import Attached, Block, Making


class Mixed(nn.Module):
    """A low-rank product with a mixer inside; zero at initialisation, because ``up`` is zero."""

    def __init__(
        self, inputs: int, outputs: int, rank: int, scale: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.scale = scale
        down, mixer = torch.empty(rank, inputs), torch.empty(rank, rank)
        for factor in (down, mixer):
            nn.init.kaiming_uniform_(factor, a=5**0.5, generator=generator)
        self.down, self.mixer = nn.Parameter(down), nn.Parameter(mixer)
        self.up = nn.Parameter(torch.zeros(rank, outputs))

    def forward(self, x_I: Tensor) -> Tensor:
        """Return ``s · ((x Dᵀ) Mᵀ) U``, shape ``(..., outputs)``."""
        hidden_R = (x_I @ self.down.T) @ self.mixer.T
        return self.scale * hidden_R @ self.up

    def delta(self) -> Tensor:
        """Return ``s · Uᵀ M D``, shape ``(outputs, inputs)``: what is added to the matrix."""
        return self.scale * self.up.T @ self.mixer @ self.down


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put MoSLoRA of rank ``size`` beside the linear layer at a site."""
    place = block.sites[site]
    product = Mixed(place.inputs, place.outputs, making.size, making.scale, making.generator)
    return attach_beside(block, site, product, product.delta)
