"""A training that pauses: its state on disk, so that it can go on where it stopped.

Kept are the trained parameters, AdamW's moments and torch's random state, for the number of steps
that were done. The order of the data needs no place: it follows from the seed. Whoever finds no
usable file trains from the first step and gets the same; only time is lost.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialized
from torch import Tensor

from autopeft.errors import OutputError
from autopeft.files import write_bytes

MOST_BYTES = 4 * 2**30
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
_RANDOM = "random"


class Paused:
    """Where one training is kept while it is paused. ``digest`` names what is trained."""

    def __init__(self, file: Path, digest: str) -> None:
        self._file = file
        self._digest = digest

    def save(self, optimizer: torch.optim.Optimizer, done: int) -> None:
        """Keep the state after ``done`` steps; a full disk is no reason to stop a search."""
        tensors: dict[str, Tensor] = {_RANDOM: torch.get_rng_state()}
        for index, parameter in enumerate(_parameters(optimizer)):
            tensors[f"value/{index}"] = parameter.detach().contiguous()
            for name in _MOMENTS:
                if name in (state := optimizer.state.get(parameter, {})):
                    tensors[f"{name}/{index}"] = state[name].contiguous()
        about = {"done": str(done), "digest": self._digest}
        with suppress(OutputError, OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(self._file, serialized(tensors, about))
            _keep_small(self._file.parent)

    def load(self, optimizer: torch.optim.Optimizer) -> int:
        """Put the state back, and return how many steps were done; 0 where there is none."""
        try:
            with safe_open(self._file, framework="pt") as opened:
                about: Mapping[str, str] = opened.metadata() or {}
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, json.JSONDecodeError):
            return 0
        parameters = _parameters(optimizer)
        if about.get("digest") != self._digest or not _fits(tensors, parameters):
            return 0
        with torch.no_grad():
            for index, parameter in enumerate(parameters):
                parameter.copy_(tensors[f"value/{index}"])
                state = {n: tensors[f"{n}/{index}"] for n in _MOMENTS if f"{n}/{index}" in tensors}
                if state:
                    optimizer.state[parameter] = state
        torch.set_rng_state(tensors[_RANDOM])
        return int(about["done"])

    def forget(self) -> None:
        """Remove what was kept."""
        with suppress(OSError):
            self._file.unlink(missing_ok=True)


def _parameters(optimizer: torch.optim.Optimizer) -> list[Any]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _fits(tensors: Mapping[str, Tensor], parameters: list[Any]) -> bool:
    values = {name: tensor.shape for name, tensor in tensors.items() if name.startswith("value/")}
    return _RANDOM in tensors and values == {
        f"value/{index}": parameter.shape for index, parameter in enumerate(parameters)
    }


def _keep_small(folder: Path) -> None:
    """Remove the oldest states when all of them together become too large."""
    files = sorted(folder.glob("*.safetensors"), key=lambda file: file.stat().st_mtime)
    sizes = [file.stat().st_size for file in files]
    while sum(sizes) > MOST_BYTES and len(files) > 1:
        files.pop(0).unlink(missing_ok=True)
        sizes.pop(0)
