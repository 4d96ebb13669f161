"""Group gain: the outputs of a linear layer, scaled in a few groups.

    y = (x Wᵀ + b) ⊙ (1 + g)        g: one number for each of s groups of neighbouring outputs

Identity at initialisation: g is zero. Count: s. Merges into the rows of W and into b.
"""

import torch
from torch import Tensor, nn

from autopeft.methods.linears import bias_of, weight_of
from autopeft.methods.places import Attached, Block, Making


class GroupGain(nn.Module):
    """A linear layer whose outputs, or a slice of them, are scaled in groups."""

    def __init__(self, base: nn.Module, start: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.base = base
        self.gain = nn.Parameter(torch.zeros(groups))
        self._start = start
        self._group_O = torch.arange(outputs) * groups // outputs

    def factors(self) -> Tensor:
        """Return what each output of the slice is multiplied by."""
        return 1 + self.gain[self._group_O.to(self.gain.device)]

    def forward(self, x_I: Tensor) -> Tensor:
        """Return the scaled output, with the shape of the base's."""
        y: Tensor = self.base(x_I)
        factors_O = self.factors().to(y.dtype)
        after = y.shape[-1] - self._start - len(factors_O)
        return y * nn.functional.pad(factors_O, (self._start, after), value=1.0)


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put gains for ``size`` groups around the linear layer at a site."""
    place = block.sites[site]
    placed: list[GroupGain] = []

    def around(base: nn.Module) -> nn.Module:
        placed.append(GroupGain(base, place.start or 0, place.outputs, making.size))
        return placed[0]

    undo = block.wrap(site, around)
    [layer] = placed

    def merge() -> None:
        with torch.no_grad():
            factors_O = layer.factors()
            weight_OI = weight_of(block, site)
            weight_OI *= factors_O[:, None].to(weight_OI.dtype)
            bias_O = bias_of(block, site)
            if bias_O is not None:
                bias_O *= factors_O.to(bias_O.dtype)

    return Attached(parameters={"gain": layer.gain}, undo=undo, merge=merge)
