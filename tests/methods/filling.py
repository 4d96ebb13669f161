"""A tiny model with slots filled in every block, and what went through its modules."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from autopeft.backbone import Backbone
from autopeft.methods.inject import Injection, injected
from autopeft.search_spaces.catalog import slots_of
from tests.models import SCALES, Tiny, padded_inputs, table


@contextmanager
def filled(
    small: Tiny, sizes: Mapping[str, int], *, model: Any = None, seed: int = 0
) -> Iterator[Injection]:
    """Put slots into every block that has them."""
    slots = slots_of(small.backbone)
    configuration = table(slots, small.backbone.blocks, sizes)
    generator = torch.Generator().manual_seed(seed)
    with injected(
        model or small.model, small.backbone, slots, configuration, SCALES, generator
    ) as injection:
        yield injection


def shake(injection: Injection) -> dict[str, torch.Tensor]:
    """Move every trained value off its start; biases upwards, so that no ReLU is dead."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in injection.state().items():
            upwards = 5 if name.endswith("down_bias") else 0
            value.add_(0.1 * torch.randn(value.shape, generator=generator) + upwards)
    return {name: value.clone() for name, value in injection.state().items()}


def hidden(small: Tiny, model: Any = None) -> torch.Tensor:
    """Return what the last block gives for three padded examples."""
    with torch.no_grad():
        out = (model or small.model)(**padded_inputs(small.backbone.architecture))
    return out.last_hidden_state


def count(backbone: Backbone, sizes: Mapping[str, int]) -> int:
    """Count what slots train that are filled in every block that has them."""
    slots = slots_of(backbone)
    return table(slots, backbone.blocks, sizes).parameters(slots)


@contextmanager
def watched(small: Tiny, *sites: str) -> Iterator[dict[str, tuple[Any, Any]]]:
    """Record input and output of what is at sites now, by site, in their first blocks."""
    seen: dict[str, tuple[Any, Any]] = {}
    hooks = []
    for name in sites:
        site = small.backbone.site(name)
        module = small.model.get_submodule(small.backbone.module_path(site, site.blocks[0]))

        def record(_module: Any, inputs: Any, output: Any, name: str = name) -> None:
            seen[name] = (inputs[0], output)

        hooks.append(module.register_forward_hook(record))
    yield seen
    for hook in hooks:
        hook.remove()
