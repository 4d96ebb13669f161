"""Plans and trained weights, read from files and checked before anything is changed by them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from autopeft.errors import PlanError

WEIGHTS = "adapter.safetensors"
HEAD = "head/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Trained values by name, those of the head apart, and what their file says of itself."""

    file: Path
    methods: Mapping[str, Tensor]
    head: Mapping[str, Tensor]
    says: Mapping[str, str]

    @property
    def all(self) -> dict[str, Tensor]:
        """Every tensor, by its name in the file."""
        return {**self.methods, **{f"{HEAD}{name}": t for name, t in self.head.items()}}


def read_weights(folder: Path) -> Weights:
    """Read the trained weights in a directory, and nothing else.

    Raises:
        PlanError: There are none, they cannot be read, or hold what is no number.
    """
    file = folder / WEIGHTS if folder.is_dir() else folder
    try:
        with safe_open(file, "pt") as opened:
            says = dict(opened.metadata() or {})
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise PlanError(f"cannot read the weights in {file}: {error}") from None
    check_numbers(tensors, str(file))
    return Weights(
        file=file,
        methods={name: t for name, t in tensors.items() if not name.startswith(HEAD)},
        head={n.removeprefix(HEAD): t for n, t in tensors.items() if n.startswith(HEAD)},
        says=says,
    )


def check_numbers(tensors: Mapping[str, Tensor], where: str) -> None:
    """Refuse values that are infinite or no numbers.

    Raises:
        PlanError: There are some; the cell is named.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise PlanError(
                f"{where} is spoiled: {cell_of(name)} holds values that are no finite numbers; "
                "training diverged: lower its learning rate and train again"
            )


def cell_of(name: str) -> str:
    """Say which cell a tensor belongs to.

    Example:
        >>> cell_of("3/lora@attention.query/down")
        'down of lora@attention.query in block 3'
    """
    if name.startswith(HEAD):
        return f"{name.removeprefix(HEAD)} of the head"
    block, _, rest = name.partition("/")
    slot, _, parameter = rest.partition("/")
    return f"{parameter} of {slot} in block {block}" if parameter else repr(name)


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Name tensors with their values, types and shapes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {_dtype(tensor)} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def digests_in(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of weights in a directory, by its name."""
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            found[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def check_files(folder: Path) -> None:
    """Refuse files of weights that hold values that are infinite or no numbers.

    Raises:
        PlanError: One does, or cannot be read; the tensor is named.
    """
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, "pt") as opened:
                for name in opened.keys():  # noqa: SIM118  # it is no mapping
                    check_numbers({name: opened.get_tensor(name)}, str(file))
        except (OSError, SafetensorError) as error:
            raise PlanError(f"cannot read the weights in {file}: {error}") from None


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def check_fit(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], where: str) -> None:
    """Refuse tensors that are not those that a configuration, or a head, has.

    Raises:
        PlanError: One is missing, left over, of another shape or no fractions; the cell is named.
    """
    if missing := sorted(set(wanted) - set(found)):
        raise PlanError(
            f"{where} lacks {cell_of(missing[0])} ({len(missing)} missing): it is cut short or was "
            "trained from another plan; train this one, or give its own weights"
        )
    if extra := sorted(set(found) - set(wanted)):
        raise PlanError(
            f"{where} has {cell_of(extra[0])}, which the plan does not have ({len(extra)} too "
            "many): it was trained from another plan; give that plan, or its own weights"
        )
    for name, tensor in wanted.items():
        if found[name].is_floating_point() != tensor.is_floating_point():
            raise PlanError(
                f"{where} has {cell_of(name)} in {_dtype(found[name])} instead of "
                f"{_dtype(tensor)}: these are not the values that training wrote; give those"
            )
        if found[name].shape != tensor.shape:
            raise PlanError(
                f"{where} has {cell_of(name)} in the shape {tuple(found[name].shape)} instead of "
                f"{tuple(tensor.shape)}: it was trained at another size; give the plan that it "
                "came from"
            )
