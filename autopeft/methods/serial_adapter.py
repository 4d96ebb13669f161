"""Serial adapters: a bottleneck in the stream, at one of two kinds of place.

After a sub-layer's last matrix, before the residual is added (Houlsby et al. 2019, arXiv
1902.00751; both of the paper's places are ``attention.output`` and ``ffn.output``):

    f' = f + A(f)

At the norm that closes the feed-forward sub-layer (Pfeiffer et al. 2020, arXiv 2005.00052; place
``ffn.norm``), where the adapter reads the normalised sum and is added before the norm:

    y = LN(x + A(LN(x)))        x = f + residual

Identity at initialisation. Count: (2 · width + 1) · size + width. Cannot be merged: it has an
activation inside.
"""

from torch import Tensor, nn

from autopeft.methods.bottleneck import Bottleneck
from autopeft.methods.places import Attached, Block, Making


class AdapterAfter(nn.Module):
    """A module whose output passes through an adapter."""

    def __init__(self, base: nn.Module, adapter: Bottleneck) -> None:
        super().__init__()
        self.base = base
        self.adapter = adapter

    def forward(self, x_BTI: Tensor) -> Tensor:
        """Return shape ``(B, T, outputs)``."""
        y_BTO: Tensor = self.base(x_BTI)
        adapted: Tensor = y_BTO + self.adapter(y_BTO)
        return adapted


class AdapterAtNorm(nn.Module):
    """A norm with an adapter that reads its output and adds to its input."""

    def __init__(self, norm: nn.Module, adapter: Bottleneck) -> None:
        super().__init__()
        self.norm = norm
        self.adapter = adapter

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return shape ``(B, T, D)``."""
        normed: Tensor = self.norm(x_BTD + self.adapter(self.norm(x_BTD)))
        return normed


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put an adapter of bottleneck width ``size`` at a linear layer or a norm."""
    place = block.sites[site]
    adapter = Bottleneck(place.outputs, place.outputs, making.size, making.scale, making.generator)
    around = AdapterAtNorm if place.kind == "norm" else AdapterAfter
    undo = block.wrap(site, lambda base: around(base, adapter))
    return Attached(parameters=dict(adapter.named_parameters()), undo=undo)
