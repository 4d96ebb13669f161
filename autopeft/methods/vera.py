"""VeRA: trained factors between frozen random matrices (Kopiczko et al. 2023, arXiv 2310.11454).

    y = x Wᵀ + b + c ∘ ((d ∘ (x Aᵀ)) B)
    A: rank x inputs, B: rank x outputs, both random and frozen; d: rank, c: outputs

All matrices of equal shape share A and B; those of lower rank take their first rows. (The `peft`
library has one pair for all shapes, of which smaller matrices take a corner: the same where the
shapes are equal.) A and B are drawn from a key of their own (see ``projections``), uniformly as in
`peft`: bounds sqrt(6 / inputs) and sqrt(6 / rank). Identity at initialisation: c is zero, d is 0.1.
Count: rank + outputs. No scale: c learns it. Merges into W as W + diag(c) Bᵀ diag(d) A.
"""

import math

import torch
from torch import Tensor, nn

from autopeft.methods.linears import attach_beside
from autopeft.methods.places import Attached, Block, Making
from autopeft.methods.projections import uniform

_FIRST = 0.1


class Factors(nn.Module):
    """Two trained vectors around shared frozen matrices; zero at initialisation."""

    down: Tensor
    up: Tensor

    def __init__(self, down_RI: Tensor, up_RO: Tensor) -> None:
        super().__init__()
        rank, outputs = up_RO.shape
        self.register_buffer("down", down_RI, persistent=False)
        self.register_buffer("up", up_RO, persistent=False)
        # The shared matrix cannot carry a bound that depends on this one's rank.
        self.bound = math.sqrt(6 / rank)
        self.inner = nn.Parameter(torch.full((rank,), _FIRST))
        self.outer = nn.Parameter(torch.zeros(outputs))

    def forward(self, x_I: Tensor) -> Tensor:
        """Return ``c ∘ ((d ∘ (x Aᵀ)) B)``, shape ``(..., outputs)``."""
        hidden_R = self.bound * self.inner * (x_I @ self.down.T)
        return self.outer * (hidden_R @ self.up)

    def delta(self) -> Tensor:
        """Return ``diag(c) Bᵀ diag(d) A``, shape ``(outputs, inputs)``."""
        return self.bound * (self.outer[:, None] * self.up.T) @ (self.inner[:, None] * self.down)


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put VeRA of rank ``size`` beside the linear layer at a site."""
    place = block.sites[site]
    down = _rows(making, "down", place.inputs, math.sqrt(6 / place.inputs))
    up = _rows(making, "up", place.outputs, 1.0)
    factors = Factors(down, up)
    return attach_beside(block, site, factors, factors.delta)


def _rows(making: Making, name: str, width: int, bound: float) -> Tensor:
    """Return the first rows of the matrix that the whole configuration shares."""
    drawn: dict[tuple[str, int], Tensor] = making.everywhere.setdefault("vera", {})
    if len(drawn.get((name, width), ())) < making.size:
        drawn[name, width] = uniform(making.size, width, bound, "vera", name)
    return drawn[name, width][: making.size]
