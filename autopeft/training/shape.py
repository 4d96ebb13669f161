"""The shape of a pretrained model: stacks, sites and widths, read without its weights.

The model is built on the meta device, where tensors have shapes and no memory.
"""

import hashlib
from pathlib import Path
from typing import Any

from autopeft.architectures.reading import Architecture, architecture_of
from autopeft.backbone import Backbone, Site, Stack
from autopeft.errors import BackboneError
from autopeft.training.model_files import ModelFiles, find_model, first_line, weights_digest
from autopeft.training.stack_reader import StackReader


def read_backbone(files: ModelFiles) -> Backbone:
    """Read the shape of a model that is there as a whole.

    Raises:
        BackboneError: The configuration cannot be read, the model's structure is not understood, or
            it lacks a site that its architecture file names.
    """
    model = empty_model(files.path, files.reference)
    return shape_of(
        model,
        architecture_for(model, files.reference),
        name=files.reference,
        digest=weights_digest(files.path),
    )


def read_shape(reference: str) -> Backbone:
    """Read the shape of a model of which nothing but ``config.json`` need be there.

    ``reference`` is that file, its directory, or whatever else ``find_model`` takes. The digest is
    that of the configuration alone.

    Raises:
        BackboneError: As ``read_backbone``.
    """
    return look(reference)[0]


def look(reference: str) -> tuple[Backbone, Architecture]:
    """Read a shape as ``read_shape`` does, and say how it is known where the sites are."""
    config = _config_file(reference)
    model = empty_model(config, reference)
    architecture = architecture_for(model, reference)
    digest = hashlib.sha256(config.read_bytes()).hexdigest()
    return shape_of(model, architecture, name=reference, digest=digest), architecture


def _config_file(reference: str) -> Path:
    path = Path(reference)
    if path.is_file():
        return path
    here = path / "config.json"
    return here if here.is_file() else find_model(reference).path / "config.json"


def empty_model(path: Path, reference: str) -> Any:
    """Build a model from its configuration on the meta device.

    Raises:
        BackboneError: The configuration cannot be read, or transformers has no such model.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True)
        with torch.device("meta"):
            return AutoModel.from_config(config)
    except Exception as error:  # whatever a configuration's own code raises on wrong values
        raise BackboneError(
            f"cannot read the configuration of {reference!r}: {first_line(error)}"
        ) from None


def asks_for_attention(files: ModelFiles) -> bool:
    """Tell whether a model attends through the function that is registered with transformers.

    Others must not be given one: they would take masks that are meant for it.

    Raises:
        BackboneError: The configuration cannot be read.
    """
    from autopeft.training.interface import asks_transformers

    return any(map(asks_transformers, empty_model(files.path, files.reference).modules()))


def architecture_for(model: Any, reference: str) -> Architecture:
    """Find where the sites of a model are: in an architecture file, else by its structure.

    Raises:
        BackboneError: There is no file for it, and its structure is not understood.
    """
    from autopeft.training.structure import analyse

    return architecture_of(model.config.model_type) or analyse(model, reference)


def shape_of(model: Any, architecture: Architecture, *, name: str, digest: str) -> Backbone:
    """Read the shape of a model that is built already, on whatever device.

    Raises:
        BackboneError: The model is not what the architecture says.
    """
    where = f"{name!r} ({architecture.source})"
    _check_needs(model.config, architecture, where)
    stacks: list[Stack] = []
    sites: list[Site] = []
    for place in architecture.stacks:
        reader = StackReader(model, place, sum(stack.blocks for stack in stacks), where)
        stacks.append(reader.stack())
        sites.extend(reader.sites)
    return Backbone(
        name=name,
        architecture=model.config.model_type,
        stacks=tuple(stacks),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        sites=tuple(sites),
        digest=digest,
    )


def _check_needs(config: Any, architecture: Architecture, where: str) -> None:
    for setting, needed in architecture.needs.items():
        if (found := getattr(config, setting, None)) != needed:
            raise BackboneError(
                f"the model {where} has {setting} {found!r} in its config.json, and autopeft knows "
                f"the sites of this architecture only where it is {needed!r}"
            )
