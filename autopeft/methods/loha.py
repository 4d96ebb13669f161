"""LoHa: the elementwise product of two low-rank matrices (Hyeon-Woo et al. 2021, arXiv 2108.06098).

    y = x Wᵀ + b + s · x ((U₁ᵀ D₁) ∘ (U₂ᵀ D₂))ᵀ        Dᵢ: rank x inputs, Uᵢ: rank x outputs

What is added has a rank of up to rank². The paper is FedPara; LyCORIS brought it to fine-tuning.
Identity at initialisation: D₂ is zero, the others are drawn as in the `peft` library. The scale is
constant, where `peft` has alpha / r. Count: 2 · rank · (inputs + outputs). The product is written
out in each pass: inputs · outputs numbers. Merges by adding it to W.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from autopeft.methods.linears import attach_beside
from autopeft.methods.places import Attached, Block, Making


class HadamardProduct(nn.Module):
    """Four trained factors; zero at initialisation, because ``second_down`` is zero."""

    def __init__(
        self, inputs: int, outputs: int, rank: int, scale: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.scale = scale

        def drawn(width: int, fan: int) -> nn.Parameter:
            factor = torch.empty(rank, width).uniform_(-1, 1, generator=generator)
            return nn.Parameter(factor * fan**-0.5)

        self.first_down = drawn(inputs, inputs)
        self.first_up = drawn(outputs, rank)
        self.second_down = nn.Parameter(torch.zeros(rank, inputs))
        self.second_up = drawn(outputs, rank)

    def forward(self, x_I: Tensor) -> Tensor:
        """Return shape ``(..., outputs)``."""
        return linear(x_I, self.delta())

    def delta(self) -> Tensor:
        """Return ``s · (U₁ᵀ D₁) ∘ (U₂ᵀ D₂)``, shape ``(outputs, inputs)``."""
        first_OI = self.first_up.T @ self.first_down
        return self.scale * first_OI * (self.second_up.T @ self.second_down)


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put LoHa of rank ``size`` beside the linear layer at a site."""
    place = block.sites[site]
    product = HadamardProduct(
        place.inputs, place.outputs, making.size, making.scale, making.generator
    )
    return attach_beside(block, site, product, product.delta)
