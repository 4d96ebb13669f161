"""The architecture files: which model types there are, and where their sites lie."""

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from autopeft.backbone import NormPlace, SiteKind
from autopeft.errors import BackboneError


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePlace:
    """Where one site lies: the path from the backbone to its module, ``{block}`` in it.

    ``part`` names what a site is of a fused matrix, such as ``query``; empty elsewhere.
    """

    name: str
    kind: SiteKind
    path: str
    part: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackPlace:
    """Where the blocks of one stack lie; ``blocks`` leads from the backbone to their list."""

    name: str
    blocks: str
    norm: NormPlace
    places: tuple[SitePlace, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Where the sites of a family of models are."""

    name: str
    model_types: tuple[str, ...]
    stacks: tuple[StackPlace, ...]


@cache
def architectures() -> tuple[Architecture, ...]:
    """Read all architecture files."""
    folder = resources.files("autopeft.architectures")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    return tuple(_read(file.name.removesuffix(".yaml"), file.read_text("utf-8")) for file in files)


def architecture_of(model_type: str) -> Architecture:
    """Find the architecture of a ``model_type`` as it stands in a model's ``config.json``.

    Raises:
        BackboneError: No architecture file names this model type.
    """
    for architecture in architectures():
        if model_type in architecture.model_types:
            return architecture
    known = ", ".join(sorted(t for a in architectures() for t in a.model_types))
    raise BackboneError(
        f"no sites are known for the architecture {model_type!r}: known are {known}; "
        "another one is added by a YAML file in autopeft/architectures"
    )


def _read(name: str, text: str) -> Architecture:
    document = yaml.safe_load(text)
    return Architecture(
        name=name,
        model_types=tuple(document["model_types"]),
        stacks=tuple(_stack(stack, entry) for stack, entry in document["stacks"].items()),
    )


def _stack(name: str, entry: dict[str, Any]) -> StackPlace:
    """Read a stack; a single one is called ``blocks`` in the file and has no name elsewhere."""
    return StackPlace(
        name="" if name == "blocks" else name,
        blocks=entry["path"],
        norm=entry["norm"],
        places=tuple(
            SitePlace(
                name=site,
                kind=place["kind"],
                path=_path(entry["path"], place["path"]),
                part=place.get("part", ""),
            )
            for site, place in entry["sites"].items()
        ),
    )


def _path(blocks: str, path: str) -> str:
    """Lead from the backbone: a path that begins with a slash does so already."""
    return path.removeprefix("/") if path.startswith("/") else f"{blocks}.{{block}}.{path}"
