"""A tiny transformer inside the `peft` library, with weights of our own."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch

from tests.methods.small_models import Small

Fill = Callable[[Any, Mapping[str, torch.Tensor]], None]


def output_of_peft(
    small: Small, config: Any, state: Mapping[str, torch.Tensor], fill: Fill
) -> torch.Tensor:
    """Return what a copy of the model gives in `peft`.

    ``fill`` puts the values of one cell, by their short names, into one of `peft`'s layers.
    """
    from peft import get_peft_model

    other = small.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft says of Conv1D what it does by itself
        tuned = get_peft_model(other.model, config).eval()
    cells: dict[tuple[int, str], dict[str, torch.Tensor]] = {}
    for name, value in state.items():
        block, slot, parameter = name.split("/")
        cells.setdefault((int(block), slot.split("@")[1]), {})[parameter] = value
    with torch.no_grad():
        for (block, site), values in cells.items():
            fill(tuned.base_model.model.get_submodule(small.path(site, block)), values)
    return Small(model=tuned, backbone=small.backbone).hidden()


def last_names(small: Small, sites: tuple[str, ...]) -> list[str]:
    """Return the last parts of the modules' names, as `peft` takes them."""
    return [small.path(site, 0).split(".", 2 if small.backbone.name == "gpt2" else 3)[-1]
            for site in sites]  # fmt: skip
