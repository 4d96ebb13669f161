"""SSF: each frozen operation's output is scaled and shifted (Lian et al. 2022, arXiv 2210.08823).

    y' = g * y + h        g, h: outputs

Identity at initialisation: g is one and h is zero. Count: 2 · outputs. Merges: W becomes
diag(g) W and b becomes g * b + h. A layer without a bias could not take the shift: there h is left
out and the count is the outputs alone (the bias that ``bitfit`` adds at a site does the same work).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from autopeft.kernels.scale_shift.operator import scale_shift
from autopeft.methods.linears import bias_of, weight_of
from autopeft.methods.places import Attached, Block, Making, Undo


class Modulated(nn.Module):
    """A module whose output, or a slice of it, is scaled, and shifted where there is a shift.

    ``start`` is the first output of the slice.
    """

    def __init__(
        self,
        base: nn.Module,
        scale: nn.Parameter,
        shift: nn.Parameter | None,
        start: int,
    ) -> None:
        super().__init__()
        self.base = base
        self.scale = scale
        self.shift = shift
        self._start = start

    def forward(self, x_I: Tensor) -> Tensor:
        """Return the output of the base, changed, in its shape and type."""
        y: Tensor = self.base(x_I)
        return scale_shift(y, self.scale, self.shift, start=self._start)


def modulate(
    block: Block, site: str, scale: nn.Parameter, shift: nn.Parameter | None = None
) -> Undo:
    """Scale, and shift, what the linear layer or norm at a site returns."""
    start = block.sites[site].start or 0
    return block.wrap(site, lambda base: Modulated(base, scale, shift, start))


def merge_modulation(
    block: Block, site: str, scale: nn.Parameter, shift: nn.Parameter | None = None
) -> Callable[[], None]:
    """Return what multiplies, and shifts, the frozen weights at a site when it is called."""

    def merge() -> None:
        with torch.no_grad():
            weight, bias = weight_of(block, site), bias_of(block, site)
            factors = scale[:, None] if weight.dim() > 1 else scale
            one = _one_of(block.original(site)) if block.sites[site].kind == "norm" else 0.0
            weight.copy_((weight + one) * factors - one)
            if bias is not None:
                bias.copy_(bias * scale if shift is None else bias * scale + shift)

    return merge


def attach(block: Block, site: str, _making: Making) -> Attached:
    """Scale and shift what the linear layer or norm at a site returns."""
    place = block.sites[site]
    scale = nn.Parameter(torch.ones(place.outputs))
    shift = nn.Parameter(torch.zeros(place.outputs)) if place.bias else None
    return Attached(
        parameters={"scale": scale} | ({} if shift is None else {"shift": shift}),
        undo=modulate(block, site, scale, shift),
        merge=merge_modulation(block, site, scale, shift),
    )


def _one_of(norm: nn.Module) -> float:
    """Return 1 for a norm that multiplies by one plus its weight, as Gemma's does, else 0."""
    zeros = {name: torch.zeros_like(value) for name, value in norm.named_parameters()}
    weight = zeros["weight"]
    probe = torch.arange(weight.numel(), dtype=weight.dtype, device=weight.device)
    return float(bool(functional_call(norm, zeros, (probe,)).any()))
