"""LoRA: a low-rank product added to a frozen matrix (Hu et al. 2021, arXiv 2106.09685).

    y = x Wᵀ + b + s · (x Dᵀ) U        D: rank x inputs, U: rank x outputs

Identity at initialisation: U is zero. The scale s is a constant that does not depend on the rank,
so that ranks stay comparable. A recipe's ``rank_scaling`` makes it s / r, which is the paper's with
alpha = s, or s / sqrt(r), which is rsLoRA's (Kalajdzievski 2023, arXiv 2312.03732).
Count: rank · (inputs + outputs). Merges into W as W + s · Uᵀ D.
"""

import torch
from torch import Tensor, nn

from autopeft.kernels.gated_sum.operator import gated_sum
from autopeft.kernels.lora_linear.operator import lora_linear, low_rank
from autopeft.methods.linears import Beside, merge_delta
from autopeft.methods.places import Attached, Block, Factor, Making
from autopeft.methods.precision import beside_frozen, is_quantised


class LowRank(nn.Module):
    """The product of two trained factors; zero at initialisation, because ``up`` is zero."""

    def __init__(
        self, inputs: int, outputs: int, rank: int, scale: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.scale = scale
        down = torch.empty(rank, inputs)
        nn.init.kaiming_uniform_(down, a=5**0.5, generator=generator)
        self.down = nn.Parameter(down)
        self.up = nn.Parameter(torch.zeros(rank, outputs))

    def forward(self, x_I: Tensor) -> Tensor:
        """Return ``s · (x Dᵀ) U``, shape ``(..., outputs)``."""
        return low_rank(x_I, self.down, self.up, self.scale)

    def delta(self) -> Tensor:
        """Return ``s · Uᵀ D``, shape ``(outputs, inputs)``: what is added to the matrix."""
        return self.scale * self.up.T @ self.down


class LoraLinear(nn.Module):
    """A plain linear layer with a trained low-rank product beside it, in one operator.

    A ``gate`` may weigh the product; then they are two, and a sum.
    """

    def __init__(self, base: nn.Linear, product: LowRank) -> None:
        super().__init__()
        self.base = base
        self.product = product
        self.gate: Factor | None = None

    def forward(self, x_BTI: Tensor) -> Tensor:
        """Return shape ``(B, T, outputs)``."""
        base, own = self.base, self.product
        if self.gate is not None:
            return gated_sum(base(x_BTI), [own(x_BTI)], [self.gate(x_BTI)])
        bias_O = None if base.bias is None else beside_frozen(base.bias, base.weight)
        return lora_linear(x_BTI, base.weight, bias_O, own.down, own.up, own.scale)


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put LoRA of rank ``size`` beside the linear layer at a site."""
    place = block.sites[site]
    product = LowRank(place.inputs, place.outputs, making.size, making.scale, making.generator)

    def around(base: nn.Module) -> nn.Module:
        if type(base) is nn.Linear and place.start is None and not is_quantised(base):
            return LoraLinear(base, product)
        return Beside(base, product, place.start or 0, mixes=True)

    return Attached(
        parameters=dict(product.named_parameters()),
        undo=block.wrap(site, around),
        merge=merge_delta(block, site, product.delta),
    )
