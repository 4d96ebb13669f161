"""Tiny models with prefixes and prompts in them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from autopeft.methods.inject import Injection, injected
from autopeft.search_spaces.catalog import slots_of
from autopeft.training.model_files import ModelFiles
from autopeft.training.pretrained import load_backbone
from autopeft.training.shape import read_backbone
from tests.models import SCALES, Tiny, save_tiny, table

State = Mapping[str, torch.Tensor]


def tiny_with(folder: Path, family: str, **changes: Any) -> Tiny:
    """Open a tiny model whose configuration is changed."""
    files = ModelFiles(
        reference=str(folder), path=save_tiny(folder, family, **changes), model_type=family
    )
    return Tiny(files=files, backbone=read_backbone(files), model=load_backbone(files))


@contextmanager
def given(small: Tiny, *, seed: int = 0, **sizes: int) -> Iterator[Injection]:
    """Put methods everywhere, named as ``prefix_at_attention``: stacks are all the same.

    What is trained is moved off its start, so that no gate is closed.
    """
    wanted = {name.replace("_at_", "@"): size for name, size in sizes.items()}
    slots = slots_of(small.backbone)
    by_slot = {
        slot.name: wanted[f"{slot.method}@{slot.place}"]
        for slot in slots
        if f"{slot.method}@{slot.place}" in wanted
    }
    assert by_slot, [slot.name for slot in slots]
    configuration = table(slots, small.backbone.blocks, by_slot)
    generator = torch.Generator().manual_seed(seed)
    with injected(
        small.model, small.backbone, slots, configuration, SCALES, generator
    ) as injection:
        shake(injection, seed)
        yield injection


def shake(injection: Injection, seed: int = 0) -> None:
    """Add noise to all that is trained, what computes it included."""
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for value in [*injection.named().values(), *injection.scaffold()]:
            value.add_(0.3 * torch.randn(value.shape, generator=generator))


def state_of(injection: Injection) -> dict[str, torch.Tensor]:
    """Return a copy of what is trained."""
    return {name: value.clone() for name, value in injection.state().items()}
