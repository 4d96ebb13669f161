"""LoRA: a low-rank product added to a frozen matrix (Hu et al. 2021, arXiv 2106.09685).

    y = x Wᵀ + b + s · (x Dᵀ) U        D: rank x inputs, U: rank x outputs

Identity at initialisation: U is zero. The scale s is a constant that does not depend on the rank,
unlike the paper's alpha / r, so that ranks stay comparable. Count: rank · (inputs + outputs).
Merges into W as W + s · Uᵀ D.
"""

import torch
from torch import Tensor, nn

from autopeft.kernels.lora_linear.naive import lora_linear
from autopeft.methods.places import Attached, Block


class LoraLinear(nn.Module):
    """A linear layer with a trained low-rank product beside it."""

    def __init__(
        self, base: nn.Linear, rank: int, scale: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.base = base
        self.scale = scale
        down = torch.empty(rank, base.in_features)
        nn.init.kaiming_uniform_(down, a=5**0.5, generator=generator)
        self.down = nn.Parameter(down)
        self.up = nn.Parameter(torch.zeros(rank, base.out_features))

    def forward(self, x_BTI: Tensor) -> Tensor:
        """Return shape ``(B, T, outputs)``."""
        base = self.base
        return lora_linear(x_BTI, base.weight, base.bias, self.down, self.up, self.scale)


def attach(
    block: Block, site: str, size: int, scale: float, generator: torch.Generator
) -> Attached:
    """Put LoRA of rank ``size`` beside the linear layer at a site."""
    base = block.original(site)
    if not isinstance(base, nn.Linear):
        raise TypeError(f"LoRA needs a linear layer at {site}, found {type(base).__name__}")
    lora = LoraLinear(base, size, scale, generator)
    undo = block.wrap(site, lambda _base: lora)
    return Attached(parameters={"down": lora.down, "up": lora.up}, undo=undo)
