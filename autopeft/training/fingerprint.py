"""A few of a model's frozen weights, by which it is told from another of the same shape.

Hashing all of them would take longer than loading an adapter; a few numbers from many tensors tell
models apart as well, in whatever precision they are held.
"""

import json

import torch
from torch import Tensor, nn

from autopeft.methods.precision import in_fewer_bits

_TENSORS = 16
_NUMBERS = 8
_CLOSE = 2e-2
"""What half precision may do to a number, relative to the largest of its tensor's."""


def fingerprint(base: nn.Module) -> str:
    """Return some weights of a model that no method has changed yet, as JSON; empty without any."""
    named = [(name, p) for name, p in sorted(base.named_parameters()) if _readable(name, p)]
    step = max(1, len(named) // _TENSORS)
    return json.dumps({name: _some(p) for name, p in named[::step]})


def is_other(known: str, found: str) -> str:
    """Name a tensor in which two fingerprints differ, or nothing where they do not.

    What only one of them has is not compared: a head or a pooler may be there or not.
    """
    one, two = json.loads(known), json.loads(found)
    for name in sorted(set(one) & set(two)):
        largest = max([1e-6, *map(abs, one[name])])
        if any(abs(a - b) > _CLOSE * largest for a, b in zip(one[name], two[name], strict=False)):
            return str(name)
    return ""


def _readable(name: str, parameter: nn.Parameter) -> bool:
    # a pooler that the file of weights lacks is another one every time
    if name.startswith("pooler."):
        return False
    if in_fewer_bits(parameter) or parameter.is_meta:
        return False
    return parameter.is_floating_point() and parameter.dim() > 1


def _some(parameter: Tensor) -> list[float]:
    flat = parameter.detach().reshape(-1)
    places = torch.linspace(0, len(flat) - 1, _NUMBERS).long().to(flat.device)
    return [float(number) for number in flat[places].float().cpu()]
