"""Frozen layers of lanes that find themselves in a block of another model, on bf16 copies there.

A block brings copies of its frozen weights into its layers while it runs (`engine.blocks`), and
knows the layers by a list. What takes the place of one of them is given a place in the list.
"""

from collections.abc import Sequence
from typing import Any

from torch import nn

_LAYERS = "autopeft_frozen"


def adopt(block: nn.Module, others: Sequence[nn.Module]) -> None:
    """Let a block care for the frozen layers of others too, as far as they are in it now."""
    within = set(block.modules())
    layers: list[Any] = [layer for b in (block, *others) for layer in vars(b).get(_LAYERS, ())]
    vars(block)[_LAYERS] = [layer for layer in dict.fromkeys(layers) if layer in within]
