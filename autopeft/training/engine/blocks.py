"""A backbone's blocks on bf16 copies of their frozen weights, while autocast asks for bf16.

Copies stand in for the weights only while a block runs, and only for whoever reads them by their
name: what a module's ``parameters()`` gives is the single precision original at any time, so that
merging, saving and fingerprints see nothing of it. Weights that a method trains or has put in place
are left to autocast, as is what methods add around the frozen layers.

The stream of vectors becomes bf16 where it enters a block, and single precision again where it
leaves the last one: heads and what comes between are computed as before.

What activations and normalisations return is made again in the backward for LoRA's products, and
not kept (``kernels/remade.py``).

Hooks do this. They stay on the model and copy with it, hold nothing, and act on a CPU under
autocast to bf16 alone.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import GELUActivation, GELUTanh, SiLUActivation
from transformers.pytorch_utils import Conv1D

from autopeft.backbone import Backbone
from autopeft.kernels.product import frozen_linear
from autopeft.kernels.remade import forget, is_sparing, note
from autopeft.training.engine.halves import half_of
from autopeft.training.recomputing import is_recomputed

_FROZEN = "autopeft_frozen"
_SHADOWED = ("weight", "bias", "forward")
_STREAM = "hidden_states"
# These keep what they get for their own backward, whatever is kept of what they return.
_REMADE = (nn.GELU, GELUActivation, GELUTanh, nn.SiLU, SiLUActivation, nn.LayerNorm)


def blocks_of(model: nn.Module, backbone: Backbone) -> tuple[nn.Module, ...]:
    """Return the modules of a model's blocks, in the order of a configuration's rows."""
    found = []
    for stack in backbone.stacks:
        inside = next(
            site.path.partition("{block}")[0]
            for site in backbone.sites
            if site.stack == stack.name and "{block}" in site.path
        )
        found += [model.get_submodule(f"{inside}{n}") for n in range(stack.blocks)]
    return tuple(found)


def run_on_halves(model: nn.Module, backbone: Backbone, head: nn.Module | None = None) -> None:
    """Let a model's blocks run on bf16 copies of their weights under autocast, from now on.

    Call it before anything is put into them. ``head`` is a language model's own. A second call
    changes nothing.
    """
    ends = {stack.first + stack.blocks - 1 for stack in backbone.stacks}
    for number, block in enumerate(blocks_of(model, backbone)):
        _prepare(block, _leave_last if number in ends else _leave)
    if head is not None:
        _prepare(head, _leave)


def run_on_own_weights(blocks: Iterable[nn.Module]) -> None:
    """Let blocks keep no copies of their weights: autocast makes them anew in every step."""
    for block in blocks:
        vars(block)[_FROZEN] = []


def _prepare(block: nn.Module, leave: Callable[[nn.Module, Any, Any], Any]) -> None:
    if _FROZEN in vars(block):
        return
    # a plain list of modules in here is copied with the block, and then holds the copy's own
    vars(block)[_FROZEN] = [m for m in block.modules() if type(m) in {nn.Linear, Conv1D}]
    for module in block.modules():
        if type(module) in _REMADE:
            module.register_forward_hook(_note)
    block.register_forward_pre_hook(_enter, with_kwargs=True)
    block.register_forward_hook(leave, always_call=True)


def _enter(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Put copies in place, and bring the stream into their precision."""
    if not _wanted():
        return None
    for layer in vars(block)[_FROZEN]:
        vars(layer).update(_shadows(layer))
    if is_recomputed(block):  # all that comes in is kept, and is another tensor the second time
        for value in (*args, *kwargs.values()):
            if isinstance(value, Tensor):
                forget(value)
    if args:
        return (_half(args[0]), *args[1:]), kwargs
    return args, {name: _half(v) if name == _STREAM else v for name, v in kwargs.items()}


def _note(module: nn.Module, args: Any, output: Any) -> None:
    """Note how an output can be made again, where something will be learned by it."""
    learns = isinstance(output, Tensor) and output.grad_fn is not None
    if is_sparing() and _wanted() and learns and len(args) == 1:
        note(output, args[0], module.forward)


def _leave(block: nn.Module, _args: Any, _output: Any) -> None:
    """Take the copies away again, on any way out."""
    for layer in vars(block)[_FROZEN]:
        for name in _SHADOWED:
            vars(layer).pop(name, None)


def _leave_last(block: nn.Module, args: Any, output: Any) -> Any:
    _leave(block, args, output)
    if not _wanted():
        return None
    if isinstance(output, tuple) and output:
        return (_single(output[0]), *output[1:])
    return _single(output)


def _wanted() -> bool:
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16


def _shadows(layer: nn.Module) -> dict[str, Any]:
    """Return what stands in for a layer's frozen weights, and for its forward."""
    own = layer._parameters  # noqa: SLF001  # what is registered, whatever stands in for it
    weight, bias = own.get("weight"), own.get("bias")
    if weight is None or weight.requires_grad or weight.dtype is not torch.float32:
        return {}
    if weight.device.type != "cpu":
        return {}
    half = half_of(weight)
    if bias is None:
        return {"weight": half, "forward": _product(layer, half, None)}
    if bias.requires_grad:
        return {"weight": half}
    half_bias = half_of(bias)
    return {"weight": half, "bias": half_bias, "forward": _product(layer, half, half_bias)}


def _product(layer: nn.Module, weight: Tensor, bias_O: Tensor | None) -> Any:
    weight_OI = weight.T if isinstance(layer, Conv1D) else weight
    return partial(frozen_linear, weight_OI=weight_OI, bias_O=bias_O)


def _half(value: Any) -> Any:
    is_stream = isinstance(value, Tensor) and value.dtype is torch.float32
    return value.bfloat16() if is_stream else value


def _single(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype is torch.bfloat16 else value
