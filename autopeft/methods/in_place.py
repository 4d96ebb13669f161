"""Train copies of a frozen layer's own parameters in their place."""

from collections.abc import Iterable

import torch
from torch import nn

from autopeft.methods.places import Attached
from autopeft.methods.precision import computes_in, needs_rounding

Chosen = tuple[str, nn.Module, str]
"""The name under which a copy is kept, the layer, and the layer's parameter: weight or bias."""


def in_place(chosen: Iterable[Chosen]) -> Attached:
    """Replace parameters by copies of them that are trained, until they are put back.

    Identity at initialisation, because training starts from the backbone's own values.
    """
    frozen = {name: (layer, which, layer.get_parameter(which)) for name, layer, which in chosen}
    trained = {
        name: nn.Parameter(original.detach().clone().float())
        for name, (_, _, original) in frozen.items()
    }
    for name, (layer, which, _) in frozen.items():
        setattr(layer, which, trained[name])
    rounding = [
        computes_in(layer, {which: trained[name]}, original)
        for name, (layer, which, original) in frozen.items()
        if needs_rounding(layer, original)
    ]

    def undo() -> None:
        while rounding:
            rounding.pop()()
        for layer, which, original in frozen.values():
            setattr(layer, which, original)

    def merge() -> None:
        with torch.no_grad():
            for name, (_, _, original) in frozen.items():
                original.copy_(trained[name])
        undo()  # what lies around them merges into the backbone's own from here on

    return Attached(parameters=trained, undo=undo, merge=merge)
