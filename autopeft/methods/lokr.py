"""LoKr: a Kronecker product with a low-rank second factor (Yeh et al. 2023, arXiv 2309.14859).

    y = x Wᵀ + b + s · x (K ⊗ (Uᵀ D))ᵀ        K: L x M, D: rank x N, U: rank x Q

where outputs = L · Q and inputs = M · N, split as near to the square root as the widths divide
(``factors``, the split of the `peft` library). `krona` is the case of
a full second factor. `peft` and LyCORIS take that one from a rank of max(Q, N) / 2 on; here
the second factor is always low-rank, and such ranks are not offered: the count is then linear in
the rank, L · M + rank · (Q + N), and every size is one that `peft` builds alike. The scale is
constant, where `peft` has alpha / r.

Identity at initialisation: K is zero, the others are drawn as in `peft`. Merges by adding the
product to W; training never writes it out.
"""

import torch
from torch import Tensor, nn

from autopeft.methods.linears import attach_beside
from autopeft.methods.places import Attached, Block, Making
from autopeft.search_spaces.catalog.reparameterised import factors


class KroneckerProduct(nn.Module):
    """Three trained factors; zero at initialisation, because ``outer`` is zero.

    Axes: I = M · N inputs, O = L · Q outputs, R rank.
    """

    def __init__(
        self, inputs: int, outputs: int, rank: int, scale: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.scale = scale
        (outer_out, inner_out), (outer_in, inner_in) = factors(outputs), factors(inputs)
        self.outer = nn.Parameter(torch.zeros(outer_out, outer_in))
        down = torch.empty(rank, inner_in).uniform_(-1, 1, generator=generator)
        up = torch.empty(rank, inner_out).uniform_(-1, 1, generator=generator)
        self.down = nn.Parameter(down * inner_in**-0.5)
        self.up = nn.Parameter(up * rank**-0.5)

    def forward(self, x_I: Tensor) -> Tensor:
        """Return ``s · x (K ⊗ (Uᵀ D))ᵀ``, shape ``(..., outputs)``."""
        x_MN = torch.unflatten(x_I, -1, (self.outer.shape[1], self.down.shape[1]))
        hidden_LR = self.outer @ (x_MN @ self.down.T)
        y_LQ: Tensor = self.scale * hidden_LR @ self.up
        return y_LQ.flatten(-2)

    def delta(self) -> Tensor:
        """Return ``s · K ⊗ (Uᵀ D)``, shape ``(outputs, inputs)``."""
        return self.scale * torch.kron(self.outer, self.up.T @ self.down)


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put LoKr of rank ``size`` beside the linear layer at a site."""
    place = block.sites[site]
    product = KroneckerProduct(
        place.inputs, place.outputs, making.size, making.scale, making.generator
    )
    return attach_beside(block, site, product, product.delta)
