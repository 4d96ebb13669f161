"""Learned vectors that a block's attention sees through its own key and value projections.

The projections are what is at the block's key and value sites when they are used, whatever other
methods have put there. Rotary positions stay away: that is the rotation at position zero.

Axes: P prompts, D width of the block, I width of all keys, O width of all values.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from autopeft.methods.attending import Extra, give
from autopeft.methods.places import Block, Undo
from autopeft.methods.precision import beside_frozen

Project = Callable[[Tensor], tuple[Tensor, Tensor]]


class Prompt(nn.Module):
    """Learned vectors, and the keys and values that the block makes of them."""

    def __init__(self, vectors_PD: Tensor, project: Project) -> None:
        super().__init__()
        self.vectors = nn.Parameter(vectors_PD)
        self._project = project
        self._made: tuple[Tensor, Tensor] | None = None

    def make(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Make keys and values; a pre-hook of the attention module.

        They are made before those of the tokens, so that other methods that take note of what a
        projection reads (an adapter beside the whole sub-layer) are left with the tokens.
        """
        read_BTD: Tensor = args[0] if args else kwargs["hidden_states"]
        free = not torch.is_autocast_enabled(read_BTD.device.type)
        self._made = self._project(beside_frozen(self.vectors, read_BTD) if free else self.vectors)

    def forward(self) -> Extra:
        """Return what attention looks at, once."""
        if self._made is None:
            raise AssertionError("the attention module has not begun")
        (keys_PI, values_PO), self._made = self._made, None
        return Extra(keys=keys_PI, values=values_PO)


def width_of(block: Block) -> int:
    """Return the width of what a block's projections read."""
    return block.backbone.stack_of(block.number).width


def give_prompt(block: Block, site: str, method: str, prompt: Prompt, extra: nn.Module) -> Undo:
    """Let the attention module at a site look at ``extra()``, which asks the prompt."""
    hook = block.original(site).register_forward_pre_hook(prompt.make, with_kwargs=True)
    take_away = give(block, site, method, extra)

    def undo() -> None:
        take_away()
        hook.remove()

    return undo


def projections(block: Block, site: str) -> Project:
    """Return what makes keys and values of vectors as the attention module at a site does."""
    attention, place = block.original(site), block.sites[site].place
    key, value = (block.beside(site, f"{place}.{name}") for name in ("key", "value"))
    if key is None or value is None:
        raise AssertionError(f"the catalog offers no {site} without keys and values")
    paths = [block.backbone.module_path(s, block.number) for s in (key, value)]

    def project(x_PD: Tensor) -> tuple[Tensor, Tensor]:
        outputs = {path: block.model.get_submodule(path)(x_PD[None])[0] for path in set(paths)}
        keys_PI, values_PO = (
            outputs[path][:, (s.start or 0) : (s.start or 0) + s.outputs]
            for path, s in zip(paths, (key, value), strict=True)
        )
        return _normed(attention, keys_PI), values_PO

    return project


def normed_projections(block: Block, site: str) -> Project:
    """Project vectors as tokens are: through the opening norm, where there is one."""
    project = projections(block, site)
    norm = block.beside(site, "attention.norm")
    if norm is None or block.backbone.stack_of(block.number).norm == "post":
        return project
    path = block.backbone.module_path(norm, block.number)
    return lambda x_PD: project(block.model.get_submodule(path)(x_PD[None])[0])


def _normed(attention: nn.Module, keys_PI: Tensor) -> Tensor:
    # Qwen3 and Gemma 3 normalise the keys of every head.
    norm = dict(attention.named_children()).get("k_norm")
    if norm is None:
        return keys_PI
    by_head = keys_PI.view(len(keys_PI), -1, norm.get_parameter("weight").numel())
    normed: Tensor = norm(by_head)
    return normed.flatten(-2)


def uniform(length: int, width: int, generator: torch.Generator) -> Tensor:
    """Draw vectors as VPT does for patches of 16 x 16 and width 768 (Jia et al. 2022)."""
    spread: float = (3 / width) ** 0.5
    return spread * (2 * torch.rand(length, width, generator=generator) - 1)
