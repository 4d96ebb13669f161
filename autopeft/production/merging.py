"""Merge into files of weights in their place, block by block, without loading the model.

A copy of the directory is made, and the tensors that change are written over in it: a tensor
keeps its name, type and shape, so its bytes keep their place in the file. In memory is one block.
"""

import gc
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from autopeft.methods.inject import injected
from autopeft.plan import Plan
from autopeft.process import frugal
from autopeft.production.opening import Opened
from autopeft.production.reading import check_fit
from autopeft.production.terms import cells_of
from autopeft.search_spaces.configuration import Configuration
from autopeft.search_spaces.within import layers_within
from autopeft.training.shape import empty_model

_ALONE = {
    *("lora", "lora_fa", "dora", "loha", "lokr", "krona", "moslora", "adalora", "dylora"),
    *("ia3", "ssf", "adapter_bias", "bitfit", "layer_norm", "ln_fit", "full"),
}
"""Methods of which a block needs nothing that another block has."""
_WEIGHTS = ".safetensors"
_INDEX = f"model{_WEIGHTS}.index.json"
_OTHERS = {
    *(_WEIGHTS, ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".ot", ".tflite", ".gguf"),
    *(".onnx", ".onnx_data", ".npz", ".xml", ".mlmodel"),
}
"""Suffixes of weights in files that are not merged into."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the bytes of a tensor lie."""

    file: str
    start: int
    end: int


def can_stream(opened: Opened) -> bool:
    """Tell whether a plan can be merged in place: what changes is in the files under its name."""
    plan, head = opened.plan, set(opened.weights.head)
    if head - {"weight", "bias"} or set(plan.configuration.methods(plan.slots)) - _ALONE:
        return False
    base = empty_model(opened.files.path, opened.files.reference)
    places = _places(opened.files.path)
    prefix = _prefix(base, places)
    return all(
        f"{prefix}{name}" in places for row in _rows(plan) for name in _names(plan, base, row)
    )


def merge_in_place(opened: Opened, folder: Path) -> None:
    """Write a copy of the model's directory with what was learned in its weights.

    Raises:
        PlanError: A method cannot be merged, or the weights do not fit the plan.
        OutputError: The files cannot be written.
    """
    plan, source = opened.plan, opened.files.path
    base = empty_model(source, opened.files.reference)
    places = _places(source)
    prefix = _prefix(base, places)
    with _copied(source, folder) as copies, frugal():
        for row in _rows(plan):
            names = _names(plan, base, row)
            before = {
                name: _tensor(source, places[f"{prefix}{name}"], f"{prefix}{name}")
                for name in names
            }
            for name, after in _merged(opened, base, row, before).items():
                if not torch.equal(after, before[name]):
                    place = places[f"{prefix}{name}"]
                    _write(copies / place.file, place, after)
            # modules that were put in and their hooks hold one another, and the block with them
            gc.collect()


def _merged(opened: Opened, base: Any, row: int, before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Merge the cells of one block, whose tensors are given; all others stay on the meta device."""
    plan = opened.plan
    _put(base, {name: tensor.float() for name, tensor in before.items()})
    empty = (0,) * len(plan.slots)
    sizes = tuple(
        own if number == row else empty for number, own in enumerate(plan.configuration.sizes)
    )
    recipe = plan.recipe
    with injected(
        base, plan.backbone, plan.slots, Configuration(sizes), recipe.scales, torch.Generator(),
        recipe.rank_scaling, recipe.gate_mean,
    ) as injection:  # fmt: skip
        state = {n: t for n, t in opened.weights.methods.items() if n.startswith(f"{row}/")}
        check_fit(state, injection.state(), str(opened.weights.file))
        injection.load(state)
        injection.merge()
    after = {name: base.get_parameter(name).detach().to(t.dtype) for name, t in before.items()}
    _put(base, {name: tensor.to("meta") for name, tensor in before.items()})
    return after


def _put(base: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        path, _, part = name.rpartition(".")
        setattr(base.get_submodule(path), part, nn.Parameter(tensor.clone(), requires_grad=False))


def _rows(plan: Plan) -> list[int]:
    return sorted({cell.block for cell in cells_of(plan)})


def _names(plan: Plan, base: nn.Module, row: int) -> list[str]:
    """List the parameters that the cells of a row may read or change."""
    paths: set[str] = set()
    for cell in cells_of(plan):
        if cell.block == row:
            alone = cell.site.kind in {"linear", "norm"}
            sites = (cell.site,) if alone else layers_within(plan.backbone, cell.site)
            paths |= {plan.backbone.module_path(site, row) for site in sites}
    found = []
    for path in sorted(paths):
        module = base.get_submodule(path)
        found += [f"{path}.{name}" for name, _ in module.named_parameters(recurse=False)]
    return found


def _places(folder: Path) -> dict[str, Place]:
    """Find every tensor in the files of a directory."""
    found = {}
    for file in _weights(folder):
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
        for name, entry in header.items():
            if name != "__metadata__":
                start, end = (8 + length + offset for offset in entry["data_offsets"])
                found[name] = Place(file=file.name, start=start, end=end)
    return found


def _weights(folder: Path) -> list[Path]:
    """List the files that transformers loads, of all that a directory may have."""
    if (whole := folder / f"model{_WEIGHTS}").is_file():
        return [whole]
    if (index := folder / _INDEX).is_file():
        listed = json.loads(index.read_text("utf-8"))["weight_map"].values()
        return [folder / name for name in sorted(set(listed))]
    return sorted(folder.glob(f"*{_WEIGHTS}"))


def _prefix(base: Any, places: Mapping[str, Place]) -> str:
    """Return what stands before the backbone's names in the files: those of heads have one."""
    prefix = f"{base.base_model_prefix}."
    return prefix if any(name.startswith(prefix) for name in places) else ""


def _tensor(folder: Path, place: Place, name: str) -> Tensor:
    with safe_open(folder / place.file, "pt") as file:
        found: Tensor = file.get_tensor(name)
    return found


def _write(file: Path, place: Place, tensor: Tensor) -> None:
    content = tensor.contiguous().view(torch.uint8).numpy().tobytes()
    if len(content) != place.end - place.start:
        raise RuntimeError(f"{len(content)} bytes do not fit into {place}")
    with file.open("r+b") as stream:
        stream.seek(place.start)
        stream.write(content)


@contextmanager
def _copied(source: Path, folder: Path) -> Iterator[Path]:
    """Copy a model's files to a place beside, and put them where they belong when all went well."""
    partial = folder / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        weights = {file.name for file in _weights(source)}
        for file in sorted(source.iterdir()):
            if file.is_file() and (file.name in weights or _stays_right(file)):
                shutil.copyfile(file, partial / file.name)
        for part in _modules(source):
            shutil.copytree(part, partial / part.name)
        yield partial
        for file in sorted(partial.iterdir()):
            if file.is_dir():
                shutil.rmtree(folder / file.name, ignore_errors=True)
            file.replace(folder / file.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _stays_right(file: Path) -> bool:
    """Tell files that stay right from the model's weights in other forms, which are not merged."""
    if file.name in {"README.md", ".gitattributes"}:
        return False
    return file.name == _INDEX or not _OTHERS & set(file.suffixes)


def _modules(source: Path) -> list[Path]:
    """List the folders of what sentence-transformers puts after the backbone, such as pooling."""
    try:
        listed = json.loads((source / "modules.json").read_text("utf-8"))
        names = {module["path"] for module in listed}
    except (OSError, ValueError, TypeError, KeyError):
        return []
    return [part for part in sorted(source.iterdir()) if part.is_dir() and part.name in names]
