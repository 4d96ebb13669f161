"""Adapter+: an adapter after each block, with a learned scale a channel (arXiv 2406.06820).

    y = x + g * (gelu(x Dᵀ + b) U + c)        x: what the block returns; g: width

The place is after the residual is added, and after the last norm where a block ends with one
(``post-adapter`` in Steitz and Roth 2024). Identity at initialisation: U and c are zero and g is
one; the paper draws U too, with a deviation of 0.01. Its drop path is left out. Count:
(2 · width + 1) · size + 2 · width. Cannot be merged: it has an activation inside.
"""

from typing import Any

import torch
from torch import Tensor, nn

from autopeft.methods.bottleneck import Bottleneck
from autopeft.methods.places import Attached, Block, Making

_CHILD = "autopeft_adapter_plus"


class ScaledAdapter(nn.Module):
    """A bottleneck in the stream whose outputs have a learned scale each; identity at first."""

    def __init__(self, width: int, size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.bottleneck = Bottleneck(width, width, size, 1.0, generator, "gelu")
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x_D: Tensor) -> Tensor:
        """Return the stream with what is added to it, shape ``(..., D)``."""
        adapted_D: Tensor = self.bottleneck(x_D, x_D, self.gain)
        return adapted_D


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put an adapter of bottleneck width ``size`` after a block."""
    adapter = ScaledAdapter(block.sites[site].outputs, making.size, making.generator)
    module = _module_of(block, site)
    module.add_module(_CHILD, adapter)

    def add(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        """Blocks return hidden states, or a tuple that begins with them."""
        x_D, *rest = output if isinstance(output, tuple) else (output,)
        adapted_D = adapter(x_D)
        return (adapted_D, *rest) if isinstance(output, tuple) else adapted_D

    hook = module.register_forward_hook(add, prepend=True)  # before what records outputs

    def undo() -> None:
        hook.remove()
        delattr(module, _CHILD)

    return Attached(
        parameters={"gain": adapter.gain, **dict(adapter.bottleneck.named_parameters())}, undo=undo
    )


def _module_of(block: Block, site: str) -> nn.Module:
    """Return the module of a whole block: the one that holds all that is numbered like it."""
    stack = block.sites[site].stack
    inside = next(s for s in block.sites.values() if s.stack == stack and "{block}" in s.path).path
    number = block.number - block.backbone.stack_of(block.number).first
    return block.model.get_submodule(f"{inside.partition('{block}')[0]}{number}")
