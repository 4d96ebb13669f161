"""An architecture that no file describes, found by its structure.

The model runs once on the meta device. Names tell queries, keys and values apart; all else follows
from what reads what: the first layer after the values closes attention, the norm whose output the
queries read opens it, and so on. What is not certain is left out: a fused matrix is one site and
its slices none, because the order of its outputs cannot be seen. Where no attention is found, the
model is refused.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch import nn

from autopeft.architectures.reading import Architecture, StackPlace
from autopeft.errors import BackboneError
from autopeft.training.model_files import first_line
from autopeft.training.stack_finder import StackFinder, UnclearError, is_linear, role_of
from autopeft.training.tracing import calls


def analyse(model: Any, reference: str) -> Architecture:
    """Find where the sites of a model on the meta device are.

    Raises:
        BackboneError: The structure is not that of a transformer of equal blocks.
    """
    model_type = model.config.model_type
    try:
        lists = dict(_lists_of_blocks(model))
        traced = calls(model)
        stacks = _named([StackFinder(model, traced, path).place() for path in lists])
    except UnclearError as error:
        raise _refusal(reference, model_type, str(error)) from None
    except Exception as error:  # whatever the code of an unknown model raises
        problem = f"it cannot be followed without its weights ({first_line(error)})"
        raise _refusal(reference, model_type, problem) from error
    return Architecture(source="by its structure", model_types=(model_type,), stacks=stacks)


def _refusal(reference: str, model_type: str, problem: str) -> BackboneError:
    return BackboneError(
        f"cannot tell where the sites of {reference!r} are: no architecture file names the model "
        f"type {model_type!r}, and of its structure this is not understood: {problem}; write a "
        "file for it in autopeft/architectures, as docs/architectures.md explains"
    )


def _lists_of_blocks(model: nn.Module) -> Iterator[tuple[str, nn.ModuleList]]:
    """Yield the outermost lists of modules with linear layers inside."""
    found: list[str] = []
    for path, module in model.named_modules():
        inside = any(path.startswith(f"{outer}.") for outer in found)
        if not inside and isinstance(module, nn.ModuleList) and _has_linears(module):
            found.append(path)
            yield path, module
            _check_names(path, module)
    if not found:
        raise UnclearError("it has no list of blocks with linear layers")


def _check_names(path: str, blocks: nn.ModuleList) -> None:
    """Refuse blocks in which no linear layer is called as those of attention are."""
    linears = [n for n, part in blocks[-1].named_modules() if is_linear(part)]
    if not any(role_of(name) for name in linears):
        raise UnclearError(
            f"the blocks in {path} ({type(blocks[-1]).__name__}) have no linear layers for query, "
            f"key and value, but {', '.join(linears[:6])}"
        )


def _has_linears(module: nn.Module) -> bool:
    return any(is_linear(part) for part in module.modules())


def _named(stacks: list[StackPlace]) -> tuple[StackPlace, ...]:
    """Drop the name of a single stack; several must have different ones."""
    if len(stacks) == 1:
        return (replace(stacks[0], name=""),)
    if len({stack.name for stack in stacks}) < len(stacks):
        where = ", ".join(stack.blocks for stack in stacks)
        raise UnclearError(f"its lists of blocks ({where}) have no names of their own")
    return tuple(stacks)
