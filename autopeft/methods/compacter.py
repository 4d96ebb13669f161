"""Compacter: adapters whose matrices are sums of Kronecker products (arXiv 2106.04647).

    f' = f + s · (gelu(P_D f + b) then P_U · + c)        P = Σᵢ Aᵢ ⊗ (sᵢ tᵢᵀ)        i = 1 .. 4

Karimi Mahabadi et al. 2021, equations 4 to 8, with n = 4 and rank 1: sᵢ has a quarter of the
matrix's rows and tᵢ a quarter of its columns. The 4 x 4 x 4 rules Aᵢ are trained once for both
matrices and all blocks of a slot (the paper: of the model). The product is never written out.

Identity at initialisation: the left factors of P_U and c are zero. The rest is drawn so that P_D
spreads like an ordinary adapter's matrix; the released code draws Aᵢ with a deviation of 0.01.
Size s stands for a bottleneck of 4 s. Count: 12 · size + 3 · width a block, and 64 once. Cannot be
merged: it has an activation inside.

Axes: ... any leading axes, I inputs and O outputs, both 4 x a quarter Q, S size (a quarter of the
bottleneck), N = 4 in n, m and i.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from autopeft.methods.places import Attached, Block, Making
from autopeft.methods.precision import single
from autopeft.methods.serial_adapter import in_stream

RULES = 4


def kronecker(x: Tensor, rules_INN: Tensor, left_SI: Tensor, right_QI: Tensor) -> Tensor:
    """Return ``P x`` for ``P = Σᵢ Aᵢ ⊗ (leftᵢ rightᵢᵀ)``.

    The input has shape ``(..., 4, Q)`` and the output ``(..., 4, S)``.
    """
    inner_MI = x @ right_QI
    turned_NI = torch.einsum("inm,...mi->...ni", rules_INN, inner_MI)
    return turned_NI @ left_SI.T


class CompactAdapter(nn.Module):
    """Down, GELU, up, scale, with factored matrices. Gives zero at initialisation."""

    def __init__(
        self, width: int, size: int, scale: float, rules: nn.Parameter, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.scale = scale
        self.rules = rules
        quarter = width // RULES
        self.down_left = nn.Parameter(torch.randn(size, RULES, generator=generator))
        right = torch.randn(quarter, RULES, generator=generator)
        self.down_right = nn.Parameter(right * (3 * width) ** -0.5)
        self.down_bias = nn.Parameter(torch.zeros(size, RULES))
        self.up_left = nn.Parameter(torch.zeros(quarter, RULES))
        self.up_right = nn.Parameter(torch.randn(size, RULES, generator=generator))
        self.up_bias = nn.Parameter(torch.zeros(width))

    def forward(self, x_I: Tensor) -> Tensor:
        """Return what the adapter adds, shape ``(..., width)``."""
        x_NQ = single(x_I).reshape(*x_I.shape[:-1], RULES, -1)
        hidden_NS = kronecker(x_NQ, self.rules, self.down_left, self.down_right)
        hidden_NS = gelu(hidden_NS + self.down_bias.T)
        up_NQ = kronecker(hidden_NS, self.rules, self.up_left, self.up_right)
        return self.scale * (up_NQ.flatten(-2) + self.up_bias)


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put a compact adapter of bottleneck 4 · ``size`` at a linear layer or a norm."""
    if "rules" not in making.shared:
        rules = torch.randn(RULES, RULES, RULES, generator=making.generator)
        making.shared["rules"] = nn.Parameter(rules * RULES**-0.5)
    adapter = CompactAdapter(
        block.sites[site].outputs,
        making.size,
        making.scale,
        making.shared["rules"],
        making.generator,
    )
    undo = in_stream(block, site, adapter)
    return Attached(parameters=dict(adapter.named_parameters()), undo=undo)
