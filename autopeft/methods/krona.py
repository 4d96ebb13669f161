"""KronA: a Kronecker product of two full factors (Edalati et al. 2022, arXiv 2212.10650).

    y = x Wᵀ + b + s · x (K ⊗ F)ᵀ        K: L x M, F: Q x N

where outputs = L · Q and inputs = M · N, split as for LoKr, of which this is the case that `peft`
and LyCORIS take from a rank of max(Q, N) / 2 on. The paper leaves the split open.

Identity at initialisation: K is zero, F is drawn as in `peft`. Count: L · M + Q · N; a switch.
Merges by adding the product to W; training never writes it out.
"""

import torch
from torch import Tensor, nn

from autopeft.methods.linears import attach_beside
from autopeft.methods.places import Attached, Block, Making
from autopeft.search_spaces.catalog.reparameterised import factors


class FullKroneckerProduct(nn.Module):
    """Two trained factors; zero at initialisation, because ``outer`` is zero.

    Axes: I = M · N inputs, O = L · Q outputs.
    """

    def __init__(self, inputs: int, outputs: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        self.scale = scale
        (outer_out, inner_out), (outer_in, inner_in) = factors(outputs), factors(inputs)
        self.outer = nn.Parameter(torch.zeros(outer_out, outer_in))
        inner = torch.empty(inner_out, inner_in).uniform_(-1, 1, generator=generator)
        self.inner = nn.Parameter(inner * inner_in**-0.5)

    def forward(self, x_I: Tensor) -> Tensor:
        """Return ``s · x (K ⊗ F)ᵀ``, shape ``(..., outputs)``."""
        x_MN = torch.unflatten(x_I, -1, (self.outer.shape[1], self.inner.shape[1]))
        y_LQ: Tensor = self.scale * self.outer @ (x_MN @ self.inner.T)
        return y_LQ.flatten(-2)

    def delta(self) -> Tensor:
        """Return ``s · K ⊗ F``, shape ``(outputs, inputs)``."""
        return self.scale * torch.kron(self.outer, self.inner)


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put KronA beside the linear layer at a site."""
    place = block.sites[site]
    product = FullKroneckerProduct(place.inputs, place.outputs, making.scale, making.generator)
    return attach_beside(block, site, product, product.delta)
