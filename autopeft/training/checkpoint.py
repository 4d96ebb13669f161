"""Trained weights on disk: only what was trained, as safetensors."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialized

from autopeft.errors import PlanError
from autopeft.files import write_bytes
from autopeft.training.trainer import Tuned

_HEAD = "head/"


def save(tuned: Tuned, file: Path, plan_digest: str, says: Mapping[str, str] | None = None) -> None:
    """Write the trained modules and the head; nothing is left behind when that fails.

    What the file ``says`` of itself beside the plan's digest goes into its header.

    Raises:
        OutputError: The file cannot be written.
    """
    tensors = {name: value.contiguous() for name, value in tuned.injection.state().items()}
    tensors |= {f"{_HEAD}{name}": value.detach() for name, value in tuned.model.head().items()}
    header = {"format": "autopeft/1", **(says or {})}
    # save_file would leave a file that only its owner may read, whatever the umask allows
    write_bytes(file, serialized(tensors, header | {"plan": plan_digest}))


def load(tuned: Tuned, file: Path) -> None:
    """Take the weights of a file over into a configuration and its head.

    Raises:
        PlanError: The file cannot be read, or does not hold this configuration's weights.
    """
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise PlanError(f"cannot read the weights in {file}: {error}") from None
    head = {f"{_HEAD}{name}": parameter for name, parameter in tuned.model.head().items()}
    found = {name: tensors.pop(name) for name in list(tensors) if name.startswith(_HEAD)}
    if {n: v.shape for n, v in found.items()} != {n: v.shape for n, v in head.items()}:
        raise PlanError(f"{file} holds no head for this task: it was trained for another one")
    tuned.injection.load(tensors)
    for name, parameter in head.items():
        parameter.data.copy_(found[name])
