"""Parallel adapter: a scaled bottleneck beside the feed-forward layer (He et al. 2022, 2110.04366).

    f' = FFN(a) + s · (relu(a Dᵀ + b) U + c)        s = 4 in the paper

Identity at initialisation. Count: (inputs + outputs + 1) · size + outputs. Cannot be merged: it
has an activation inside.

The feed-forward layer is not one module in every architecture, but it always begins with one
linear layer and ends with another: the first is given a tap that reads its input, the second adds
what the tap has computed.
"""

from torch import Tensor, nn

from autopeft.methods.bottleneck import Bottleneck
from autopeft.methods.places import Attached, Block, Making


class Tap(nn.Module):
    """The first layer of the feed-forward pair; keeps the adapter's output for the second."""

    def __init__(self, base: nn.Module, adapter: Bottleneck) -> None:
        super().__init__()
        self.base = base
        self.adapter = adapter
        self._kept: Tensor | None = None

    def forward(self, x_BTI: Tensor) -> Tensor:
        """Return what the layer returns, shape ``(B, T, outputs)``."""
        self._kept = self.adapter(x_BTI)
        y_BTO: Tensor = self.base(x_BTI)
        return y_BTO

    def take(self) -> Tensor:
        """Return the adapter's output, once."""
        kept, self._kept = self._kept, None
        if kept is None:
            raise RuntimeError("the second feed-forward layer ran before the first")
        return kept


class Join(nn.Module):
    """The last layer of the feed-forward pair; adds what the tap has kept."""

    def __init__(self, base: nn.Module, tap: Tap) -> None:
        super().__init__()
        self.base = base
        self._take = tap.take

    def forward(self, x_BTI: Tensor) -> Tensor:
        """Return shape ``(B, T, outputs)``."""
        joined: Tensor = self.base(x_BTI) + self._take()
        return joined


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put an adapter of bottleneck width ``size`` beside the feed-forward layer."""
    place = block.sites[site]
    first, last = block.beside(site, "ffn.input"), block.beside(site, "ffn.output")
    if first is None or last is None:
        raise TypeError(f"{site} lacks its first or its last linear layer")
    adapter = Bottleneck(place.inputs, place.outputs, making.size, making.scale, making.generator)
    tap: list[Tap] = []

    def tapped(base: nn.Module) -> nn.Module:
        tap.append(Tap(base, adapter))
        return tap[0]

    undo_tap = block.wrap(first.name, tapped)
    undo_join = block.wrap(last.name, lambda base: Join(base, tap[0]))

    def undo() -> None:
        undo_join()
        undo_tap()

    return Attached(parameters=dict(adapter.named_parameters()), undo=undo)
