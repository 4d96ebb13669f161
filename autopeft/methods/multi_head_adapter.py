"""Multi-head parallel adapter: a bottleneck for each attention head (He et al. 2022, 2110.04366).

    head' = head + s · gelu(q Kᵀ) V        q: the head's query; K, V: size x head width, per head

What prefix tuning becomes with an activation in place of the softmax and plain addition in place of
its gate. The released code (``cross_attn_relu``) has a ReLU there; without a bias such a unit never
learns once its key points away from all queries, so it is a GELU here. q is taken as it leaves its
matrix, before any rotation. Identity at initialisation: V is zero. Count: size · (query width +
width of all heads' outputs), as many as a prefix of that length costs where every head has its own
keys. Cannot be merged: it has an activation inside.

Axes: ... any leading axes, N heads, K width of a head, R size.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from autopeft.methods.parallel_adapter import ends
from autopeft.methods.places import Attached, Block, Making
from autopeft.methods.precision import single


class HeadBottlenecks(nn.Module):
    """One bottleneck a head, without biases. Gives zero at initialisation."""

    def __init__(
        self, heads: int, width: int, size: int, scale: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.scale = scale
        self._heads = heads
        down = torch.empty(size, heads, width // heads)
        down.uniform_(-1, 1, generator=generator)
        self.down = nn.Parameter(down * (heads / width) ** 0.5)
        self.up = nn.Parameter(torch.zeros(size, heads, width // heads))

    def forward(self, q: Tensor) -> Tensor:
        """Return what is added to the heads' outputs, in the shape of the queries."""
        q_NK = single(q).reshape(*q.shape[:-1], self._heads, -1)
        hidden_NR = gelu(torch.einsum("...nk,rnk->...nr", q_NK, self.down))
        return self.scale * torch.einsum("...nr,rnk->...nk", hidden_NR, self.up).flatten(-2)


class QueryTap(nn.Module):
    """The matrix of the queries; keeps what the adapter makes of them."""

    def __init__(self, base: nn.Module, adapter: HeadBottlenecks, start: int, width: int) -> None:
        super().__init__()
        self.base = base
        self.adapter = adapter
        self._queries = slice(start, start + width)
        self._kept: Tensor | None = None

    def forward(self, x_I: Tensor) -> Tensor:
        """Return what the matrix returns, shape ``(..., outputs)``."""
        y_O: Tensor = self.base(x_I)
        self._kept = self.adapter(y_O[..., self._queries])
        return y_O

    def take(self) -> Tensor:
        """Return the adapter's output, once."""
        kept, self._kept = self._kept, None
        if kept is None:
            raise RuntimeError("the output of attention ran before its queries")
        return kept


class JoinBefore(nn.Module):
    """The matrix that reads all heads' outputs; adds what the tap has kept to them first."""

    def __init__(self, base: nn.Module, tap: QueryTap) -> None:
        super().__init__()
        self.base = base
        self._take = tap.take

    def forward(self, x_I: Tensor) -> Tensor:
        """Return shape ``(..., outputs)``."""
        y_O: Tensor = self.base(x_I + self._take().to(x_I.dtype))
        return y_O


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put bottlenecks of width ``size`` beside the heads of an attention module."""
    first, last = ends(block, site)
    heads = block.backbone.stack_of(block.number).heads
    adapter = HeadBottlenecks(heads, last.inputs, making.size, making.scale, making.generator)
    tap: list[QueryTap] = []

    def tapped(base: nn.Module) -> nn.Module:
        tap.append(QueryTap(base, adapter, first.start or 0, last.inputs))
        return tap[0]

    undo_tap = block.wrap(first.name, tapped)
    undo_join = block.wrap(last.name, lambda base: JoinBefore(base, tap[0]))

    def undo() -> None:
        undo_join()
        undo_tap()

    return Attached(parameters=dict(adapter.named_parameters()), undo=undo)
