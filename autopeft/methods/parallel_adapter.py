"""Parallel adapter: a scaled bottleneck beside a whole sub-layer (He et al. 2022, 2110.04366).

    f' = F(a) + s · (relu(a Dᵀ + b) U + c)        s = 4 in the paper

F is the feed-forward layer (place ``ffn``), self-attention (``attention``) or cross-attention
(``cross``), where a is what its queries are made of. Identity at initialisation: U and c are zero.
Count: (width in + width out + 1) · size + width out. Cannot be merged: it has an activation inside.

A sub-layer is not one module in every architecture, but it always begins with linear layers that
read a and ends with one: the first is given a tap, the last adds what the adapter makes of a.
"""

from torch import Tensor, nn

from autopeft.backbone import Site
from autopeft.methods.bottleneck import Bottleneck, onto
from autopeft.methods.places import Attached, Block, Making, Undo
from autopeft.search_spaces.catalog.additive import ends_of


class Tap(nn.Module):
    """The first module of a sub-layer; keeps what it reads until the adapter reads it too."""

    def __init__(self, base: nn.Module, adapter: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.adapter = adapter
        self._kept: Tensor | None = None

    def forward(self, x_I: Tensor) -> Tensor:
        """Return what the module returns, shape ``(..., outputs)``."""
        self._kept = x_I
        y_O: Tensor = self.base(x_I)
        return y_O

    def join(self, y_O: Tensor) -> Tensor:
        """Return the sub-layer's output plus the adapter's, once."""
        kept_I, self._kept = self._kept, None
        if kept_I is None:
            raise RuntimeError("the last module of the sub-layer ran before the first")
        return onto(y_O, self.adapter, kept_I)


class Join(nn.Module):
    """The last linear layer of a sub-layer; adds what the adapter makes of what was kept."""

    def __init__(self, base: nn.Module, tap: Tap) -> None:
        super().__init__()
        self.base = base
        self._join = tap.join

    def forward(self, x_I: Tensor) -> Tensor:
        """Return shape ``(..., outputs)``."""
        y_O: Tensor = self.base(x_I)
        return self._join(y_O)


def alongside(block: Block, first: Site, last: Site, adapter: nn.Module) -> Undo:
    """Let an adapter read what ``first`` reads, and add to what ``last`` returns."""
    tap: list[Tap] = []

    def tapped(base: nn.Module) -> nn.Module:
        tap.append(Tap(base, adapter))
        return tap[0]

    undo_tap = block.wrap(first.name, tapped)
    undo_join = block.wrap(last.name, lambda base: Join(base, tap[0]))

    def undo() -> None:
        undo_join()
        undo_tap()

    return undo


def ends(block: Block, site: str) -> tuple[Site, Site]:
    """Return the linear layers with which a sub-layer that has a slot begins and ends."""
    found = ends_of(block.backbone, block.sites[site])
    assert found, f"{site} has no slot for what needs both its ends"
    return found


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put an adapter of bottleneck width ``size`` beside a sub-layer."""
    first, last = ends(block, site)
    adapter = Bottleneck(first.inputs, last.outputs, making.size, making.scale, making.generator)
    undo = alongside(block, first, last, adapter)
    return Attached(parameters=dict(adapter.named_parameters()), undo=undo)
