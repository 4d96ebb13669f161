"""What a model's modules read and give when it runs once, followed without weights."""

import inspect
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

_TOKENS = 4


class _ZeroForValues(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own lack
    """Answers zero where code asks for the value of a tensor that has none."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:  # noqa: SLF001  # its name
            return torch.zeros((), dtype=args[0].dtype, device="cpu").item()
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The first call of a module. Calls are equal in ``reads`` or ``gives`` if the tensor is one.

    ``order`` counts calls as they end, so that what is inside a module comes before it.
    """

    path: str
    module: nn.Module
    order: int
    reads: int
    gives: int


def calls(model: nn.Module) -> dict[str, Call]:
    """Run a model that lies on the meta device once, and return its modules' first calls by path.

    The model is left in evaluation mode, in which no block is skipped at random.
    """
    found: dict[str, Call] = {}
    alive: list[object] = []  # a tensor that is gone would lend its identity to another

    def hook(path: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        reads, gives = _first_tensor((args, kwargs)), _first_tensor(output)
        alive.extend((reads, gives))
        call = Call(path=path, module=module, order=len(alive), reads=id(reads), gives=id(gives))
        found.setdefault(path, call)

    model.eval()
    with ExitStack() as hooks, torch.no_grad():
        for path, module in model.named_modules():
            handle = module.register_forward_hook(partial(hook, path), with_kwargs=True)
            hooks.callback(handle.remove)
        hooks.enter_context(_ZeroForValues())  # type: ignore[no-untyped-call]  # torch's own lack
        model(**_inputs(model))
    return found


def _inputs(model: nn.Module) -> dict[str, Any]:
    """Make what the model's ``forward`` asks for, of tokens and images."""
    tokens = torch.zeros(1, _TOKENS, dtype=torch.long, device="meta")
    offered = {"input_ids": tokens, "decoder_input_ids": tokens.clone(), "use_cache": False}
    if image := _image(model.config):
        offered["pixel_values"] = torch.zeros(1, *image, device="meta")
    asked = inspect.signature(model.forward).parameters
    return {name: value for name, value in offered.items() if name in asked}


def _image(config: Any) -> tuple[int, int, int] | None:
    config = getattr(config, "vision_config", config)
    size = getattr(config, "image_size", None)
    if size is None:
        return None
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    return getattr(config, "num_channels", 3), height, width


def _first_tensor(value: Any) -> Tensor | None:
    return next(_tensors(value), None)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, (tuple, list)):
        for inner in value:
            yield from _tensors(inner)
