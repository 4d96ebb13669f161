"""Serial adapters: a bottleneck in the stream, at one of two kinds of place.

After a sub-layer's last matrix, before the residual is added (Houlsby et al. 2019, arXiv
1902.00751; the paper's places are ``attention.output`` and ``ffn.output`` together):

    f' = f + A(f)

At the norm that closes the feed-forward sub-layer (Pfeiffer et al. 2020, arXiv 2005.00052; place
``ffn.norm``), where the adapter reads the normalised sum and is added before the norm:

    y = LN(x + A(LN(x)))        x = f + residual

A pre-norm block has no such norm: there Pfeiffer's one adapter a block is that at ``ffn.output``.

A(x) = s · (relu(x Dᵀ + b) U + c). Identity at initialisation: U and c are zero. Count:
(2 · width + 1) · size + width. Cannot be merged: it has an activation inside.
"""

from torch import Tensor, nn

from autopeft.methods.bottleneck import Bottleneck, onto
from autopeft.methods.places import Attached, Block, Factor, Making, Undo


class AdapterAfter(nn.Module):
    """A module whose output passes through an adapter, which a ``gate`` may weigh."""

    def __init__(self, base: nn.Module, adapter: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.adapter = adapter
        self.gate: Factor | None = None

    def forward(self, x_I: Tensor) -> Tensor:
        """Return shape ``(..., outputs)``."""
        y_O: Tensor = self.base(x_I)
        return onto(y_O, self.adapter, y_O, self.gate)


class AdapterAtNorm(nn.Module):
    """A norm with an adapter that reads its output and adds to its input; a gate may weigh it."""

    def __init__(self, norm: nn.Module, adapter: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.adapter = adapter
        self.gate: Factor | None = None

    def forward(self, x_D: Tensor) -> Tensor:
        """Return shape ``(..., D)``."""
        normed_D: Tensor = self.norm(onto(x_D, self.adapter, self.norm(x_D), self.gate))
        return normed_D


def in_stream(block: Block, site: str, adapter: nn.Module) -> Undo:
    """Put an adapter after the linear layer, or at the norm, of a site."""
    around = AdapterAtNorm if block.sites[site].kind == "norm" else AdapterAfter
    return block.wrap(site, lambda base: around(base, adapter))


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put an adapter of bottleneck width ``size`` at a linear layer or a norm."""
    width = block.sites[site].outputs
    adapter = Bottleneck(width, width, making.size, making.scale, making.generator)
    undo = in_stream(block, site, adapter)
    return Attached(parameters=dict(adapter.named_parameters()), undo=undo)
