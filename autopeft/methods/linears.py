"""Frozen linear layers as they come: ``nn.Linear``, GPT-2's ``Conv1D``, and slices of a fused one.

Axes: I inputs, O outputs of the site.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from autopeft.backbone import Site
from autopeft.methods.places import Attached, Block, Undo
from autopeft.methods.precision import is_quantised, single, unpacked


class Beside(nn.Module):
    """A module whose output, or a slice of it, gets something added that reads the same input.

    ``delta`` maps ``(..., I)`` to ``(..., O)``; ``start`` is the first output of the slice. One
    that ``mixes`` precisions by itself is given its input as it is.
    """

    def __init__(
        self, base: nn.Module, delta: nn.Module, start: int, *, mixes: bool = False
    ) -> None:
        super().__init__()
        self.base = base
        self.delta = delta
        self._start = start
        self._mixes = mixes

    def forward(self, x_I: Tensor) -> Tensor:
        """Return the sum, with the shape of the base's output."""
        y: Tensor = self.base(x_I)
        added_O: Tensor = self.delta(x_I if self._mixes else single(x_I))
        return plus_slice(y, added_O, self._start)


def plus_slice(y: Tensor, added_O: Tensor, start: int) -> Tensor:
    """Add to the outputs from ``start`` on, in the precision of what is added to."""
    after = y.shape[-1] - start - added_O.shape[-1]
    added = nn.functional.pad(added_O, (start, after)) if start or after else added_O
    return y + added.to(y.dtype)


def beside(block: Block, site: str, delta: nn.Module, *, mixes: bool = False) -> Undo:
    """Add the output of ``delta`` to that of the linear layer at a site, or to its slice of it."""
    start = block.sites[site].start or 0
    return block.wrap(site, lambda base: Beside(base, delta, start, mixes=mixes))


def attach_beside(
    block: Block, site: str, module: nn.Module, delta_OI: Callable[[], Tensor]
) -> Attached:
    """Put a module beside a linear layer that is the same as adding a matrix to its weight."""
    return Attached(
        parameters=dict(module.named_parameters()),
        undo=beside(block, site, module),
        merge=merge_delta(block, site, delta_OI),
    )


def weight_of(block: Block, site: str) -> Tensor:
    """Return the frozen weight at a site as a view of shape ``(O, I)``: writing to it writes there.

    The backbone's own, whatever has been wrapped around it. Of a quantised layer it is what its
    weight stands for, and writing to it changes nothing.
    """
    linear = block.original(site)
    if is_quantised(linear):
        return _slice(unpacked(linear), block.sites[site])
    # not by attribute: while a block runs, a bf16 copy may stand in for it
    weight = dict(linear.named_parameters(recurse=False))["weight"].detach()
    weight = weight.T if isinstance(linear, Conv1D) else weight
    return _slice(weight, block.sites[site])


def bias_of(block: Block, site: str) -> Tensor | None:
    """Return the frozen bias at a site as a view of shape ``(O,)``, or None where there is none."""
    bias = getattr(block.original(site), "bias", None)
    return None if bias is None else _slice(bias.detach(), block.sites[site])


def trained_bias_of(block: Block, site: str) -> Tensor | None:
    """Return the bias that acts at a site now, trained or frozen, with its gradient; or None."""
    bias: Tensor | None = getattr(block.original(site), "bias", None)
    return None if bias is None else _slice(bias, block.sites[site])


def merge_delta(block: Block, site: str, delta_OI: Callable[[], Tensor]) -> Callable[[], None]:
    """Return what adds a matrix to the frozen weight at a site when it is called."""

    def merge() -> None:
        with torch.no_grad():
            weight = weight_of(block, site)
            weight += delta_OI().to(weight.dtype)

    return merge


def _slice(whole: Tensor, site: Site) -> Tensor:
    return whole if site.start is None else whole[site.start : site.start + site.outputs]
