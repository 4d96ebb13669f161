"""A model once more: modules of its own around the same tensors."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


def lane_of(model: Model) -> Model:
    """Copy all modules of a model, hooks included, but no parameter, buffer or configuration.

    Whatever is put around, into or in place of the modules of one copy is in that copy alone.
    """
    shared = [*model.parameters(), *model.buffers()]
    shared += [config for m in model.modules() if (config := vars(m).get("config")) is not None]
    return copy.deepcopy(model, {id(kept): kept for kept in shared})


class Chance:
    """The random numbers of one lane: torch's global stream, as if nobody else drew from it."""

    def __init__(self) -> None:
        self._state = torch.get_rng_state()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Go on with the lane's own stream for the time of a ``with`` block."""
        outside = torch.get_rng_state()
        torch.set_rng_state(self._state)
        try:
            yield
        finally:
            self._state = torch.get_rng_state()
            torch.set_rng_state(outside)
