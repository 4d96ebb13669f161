"""Blocks that keep only their input for the backward, and run once more when it comes to them.

That takes the memory of one block's activations at a time, and a third more operations (Chen et al.
2016, arXiv 1604.06174). Whatever methods have put into a block runs again with it, hooks included.
Dropout draws the same numbers.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

_CALL = "_call_impl"  # what torch's modules call, hooks and all; an instance's own goes before


@contextmanager
def recomputed(blocks: Iterable[nn.Module]) -> Iterator[None]:
    """Let blocks run twice in every step that is learned from, for the time of a ``with`` block."""
    with ExitStack() as undo:
        for block in dict.fromkeys(blocks):  # ALBERT has one for all rows
            vars(block)[_CALL] = _twice(getattr(block, _CALL))
            undo.callback(vars(block).pop, _CALL)
        yield


def is_recomputed(block: nn.Module) -> bool:
    """Tell whether a block runs twice now."""
    return _CALL in vars(block)


def _twice(call: Callable[..., Any]) -> Callable[..., Any]:
    def called(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return call(*args, **kwargs)
        return checkpoint(call, *args, use_reentrant=False, preserve_rng_state=True, **kwargs)

    return called
