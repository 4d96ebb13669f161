"""A bf16 copy of a frozen tensor, made once and kept for as long as the tensor lives.

Under autocast alone torch would make one in every step: it keeps copies only of what is trained.
"""

from collections.abc import Iterator, MutableMapping

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

_State = tuple[int, int]

_kept: MutableMapping[nn.Parameter, tuple[_State, Tensor]] = WeakIdKeyDictionary()
"""For each frozen parameter in what state it was copied, and the copy."""


def half_of(frozen: nn.Parameter) -> Tensor:
    """Return the copy of a frozen parameter, made anew where its values have changed since."""
    state = _state(frozen)
    known = _kept.get(frozen)
    if known is None or known[0] != state:
        with torch.inference_mode(mode=False):  # such a tensor could not be kept for a backward
            known = state, frozen.detach().to(torch.bfloat16)
        _kept[frozen] = known
    return known[1]


def halves_in(module: nn.Module) -> Iterator[Tensor]:
    """Yield the copies that there are of a module's parameters."""
    for parameter in module.parameters():
        if known := _kept.get(parameter):
            yield known[1]


def _state(frozen: nn.Parameter) -> _State:
    # merging writes into weights in place, which counts their version up
    return frozen.data_ptr(), frozen._version  # noqa: SLF001  # torch has no other name
