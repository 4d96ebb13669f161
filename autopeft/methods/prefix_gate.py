"""Adaptive prefix tuning: a prefix whose weight each block and each token sets (2305.15212).

    P̂ = l · w ⊙ P        w = sigmoid(h Gᵀ)        G: length x width of the block, l: one number

(Zhang et al. 2023.) P are keys and values as in ``prefix``, h is what the attention module reads.
Every query takes the weights w from its own h, so that causal order, padding and cached keys stay
what they are; the paper leaves open over which tokens it takes them. The level l begins at one. Not
the identity at initialisation. Count: length · (key width + value width + width) + 1. Cannot be
merged.
"""

from typing import Any

import torch
from torch import Tensor, nn

from autopeft.methods.attending import Extra, give
from autopeft.methods.places import Attached, Block, Making
from autopeft.methods.precision import single
from autopeft.methods.prefix import Prefix

_SPREAD = 0.02


class GatedPrefix(nn.Module):
    """Learned keys and values with a gate for each query (token level) and one for all (layer)."""

    def __init__(self, prefix: Prefix, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.prefix = prefix
        length = len(prefix.keys)
        self.gate = nn.Parameter(torch.randn(length, width, generator=generator) * _SPREAD)
        self.level = nn.Parameter(torch.ones(1))
        self._read_BTD: Tensor | None = None

    def read(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Take note of what the attention module reads, before it does."""
        self._read_BTD = args[0] if args else kwargs["hidden_states"]

    def forward(self) -> Extra:
        """Return what attention looks at; forgets what was read."""
        if self._read_BTD is None:
            raise AssertionError("the attention module has read nothing")
        gate_BTP = self.level * torch.sigmoid(single(self._read_BTD) @ self.gate.T)
        self._read_BTD = None
        return Extra(keys=self.prefix.keys, values=self.prefix.values, gate=gate_BTP)


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put ``size`` gated keys and values in front of an attention module's own."""
    place, width = block.sites[site], block.backbone.stack_of(block.number).width
    prefix = Prefix(making.size, place.inputs, place.outputs, making.generator)
    gated = GatedPrefix(prefix, width, making.generator)
    hook = block.original(site).register_forward_pre_hook(gated.read, with_kwargs=True)
    take_away = give(block, site, "prefix_gate", gated)

    def undo() -> None:
        take_away()
        hook.remove()

    parameters = {"keys": prefix.keys, "values": prefix.values} | {
        "gate": gated.gate, "level": gated.level,
    }  # fmt: skip
    return Attached(parameters=parameters, undo=undo)
