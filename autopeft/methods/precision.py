"""Trained numbers in single precision beside frozen ones in half precision or in fewer bits.

What is trained is float32 whatever the backbone is held in: steps are smaller than what half
precision can tell apart. Layers compute in the precision of their frozen weights, and what methods
add is rounded to that of the stream which it is added to.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from autopeft.methods.places import Undo

HALVES = (torch.bfloat16, torch.float16)
_IN_FEWER_BITS = ("bitsandbytes", "torchao")
_LARGEST = 127
"""What 8 bit numbers are scaled to."""


def single(x: Tensor) -> Tensor:
    """Return what is in half precision in single; as it is where autocast sees to precisions."""
    if x.dtype not in HALVES or torch.is_autocast_enabled(x.device.type):
        return x
    return x.float()


def in_fewer_bits(tensor: Tensor) -> bool:
    """Tell whether a tensor is not its numbers but what a library makes them of."""
    return type(tensor).__module__.partition(".")[0] in _IN_FEWER_BITS


def is_quantised(layer: nn.Module) -> bool:
    """Tell whether a layer's weight is held in fewer bits than it is computed with."""
    weight = dict(layer.named_parameters(recurse=False)).get("weight")
    return weight is not None and in_fewer_bits(weight)


def unpacked(layer: nn.Module) -> Tensor:
    """Return the numbers that a quantised layer's weight stands for, made anew at every call."""
    from peft.utils.integrations import dequantize_module_weight

    weight: Any = layer.get_parameter("weight")
    if weight.dtype is torch.int8:  # the library's way of asking loses the scales on a CPU
        kept: Any = vars(layer)["state"].SCB
        scales_O: Tensor = weight.SCB if kept is None else kept
        numbers_OI: Tensor = weight.data * scales_O[:, None] / _LARGEST
        return numbers_OI
    found: Tensor = dequantize_module_weight(layer).detach()
    return found


def beside_frozen(trained: Tensor, frozen: Tensor) -> Tensor:
    """Return a trained tensor in the precision of a frozen one that it acts with."""
    return trained.to(frozen.dtype) if frozen.dtype in HALVES else trained


def needs_rounding(layer: nn.Module, frozen: Tensor | None) -> bool:
    """Tell whether a layer cannot compute with a single precision parameter for a frozen one.

    A layer without one is asked for its weight.
    """
    own = layer.get_parameter("weight") if frozen is None else frozen
    return own.dtype in HALVES or is_quantised(layer)


def computes_in(layer: nn.Module, trained: Mapping[str, nn.Parameter], frozen: Tensor) -> Undo:
    """Let a layer compute in the precision of a frozen tensor with trained ones in single in it.

    While it runs, rounded copies stand in for them, which hand their gradients on. A quantised
    layer computes in the precision of what it reads.
    """
    follows = is_quantised(layer)

    def enter(_layer: nn.Module, args: tuple[Any, ...]) -> Any:
        dtype = args[0].dtype if follows else frozen.dtype
        vars(layer).update({name: parameter.to(dtype) for name, parameter in trained.items()})
        if follows or torch.is_autocast_enabled(next(iter(trained.values())).device.type):
            return None
        return tuple(_rounded(value, dtype) for value in args)

    def leave(_layer: nn.Module, _args: Any, _output: Any) -> None:
        for name in trained:
            vars(layer).pop(name, None)

    handles = (
        layer.register_forward_pre_hook(enter),
        layer.register_forward_hook(leave, always_call=True),
    )

    def undo() -> None:
        for handle in handles:
            handle.remove()

    return undo


@contextmanager
def held_in_single(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Hold parameters in single precision for the time of a ``with`` block, and round them once."""
    halves = [(p, p.dtype) for p in parameters if p.dtype in HALVES]
    for parameter, _ in halves:
        parameter.data = parameter.data.float()
    try:
        yield
    finally:
        for parameter, dtype in halves:
            parameter.data = parameter.data.to(dtype)


def _rounded(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
