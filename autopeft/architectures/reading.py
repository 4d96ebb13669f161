"""The architecture files: which model types there are, and where their sites lie.

A file says, for every stack of blocks, where the list of its blocks is (``path``), whether it
normalises before a sub-layer or after (``norm``, turned round where the setting ``norm_if`` of
``config.json`` is false), which part of ``config.json`` describes it (``config``), what its number
of heads is called there (``heads``), and where its sites lie (``sites``). ``needs`` names settings
without which the file does not describe a model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml

from autopeft.backbone import NormPlace, SiteKind

Part = Literal["", "query", "key", "value", "gate", "input"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePlace:
    """Where one site lies.

    ``paths`` lead from the backbone to its module, with ``{block}`` in them; where there are
    several, the first that exists holds. ``part`` names what a site is of a fused matrix, in which
    query, key and value, or gate and input, follow one another in this order. ``first`` is the
    first block of the stack that has the site. A site that is not ``optional`` must be there.
    """

    name: str
    kind: SiteKind
    paths: tuple[str, ...]
    part: Part = ""
    first: int = 0
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StackPlace:
    """Where the blocks of one stack lie; ``blocks`` leads from the backbone to their list."""

    name: str
    blocks: str
    norm: NormPlace
    places: tuple[SitePlace, ...]
    norm_if: str = ""
    config: str = ""
    heads: str = "num_attention_heads"


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Where the sites of a family of models are.

    ``source`` says how that is known, as people read it: ``from bert.yaml``.
    """

    source: str
    model_types: tuple[str, ...]
    stacks: tuple[StackPlace, ...]
    needs: Mapping[str, Any] = field(default_factory=dict)


@cache
def architectures() -> tuple[Architecture, ...]:
    """Read all architecture files."""
    folder = resources.files("autopeft.architectures")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    return tuple(read_architecture(f"from {file.name}", file.read_text("utf-8")) for file in files)


def architecture_of(model_type: str) -> Architecture | None:
    """Find the architecture of a ``model_type`` as it stands in a model's ``config.json``.

    None where no architecture file names it.
    """
    return next((a for a in architectures() if model_type in a.model_types), None)


def read_architecture(source: str, text: str) -> Architecture:
    """Read what stands in an architecture file."""
    document = yaml.safe_load(text)
    return Architecture(
        source=source,
        model_types=tuple(document["model_types"]),
        stacks=tuple(_stack(stack, entry) for stack, entry in document["stacks"].items()),
        needs=document.get("needs", {}),
    )


def _stack(name: str, entry: dict[str, Any]) -> StackPlace:
    """Read a stack; a single one is called ``blocks`` in the file and has no name elsewhere."""
    return StackPlace(
        name="" if name == "blocks" else name,
        blocks=entry["path"],
        norm=entry["norm"],
        norm_if=entry.get("norm_if", ""),
        config=entry.get("config", ""),
        heads=entry.get("heads", "num_attention_heads"),
        places=tuple(_site(site, place, entry["path"]) for site, place in entry["sites"].items()),
    )


def _site(name: str, entry: dict[str, Any], blocks: str) -> SitePlace:
    paths = entry["path"] if isinstance(entry["path"], list) else [entry["path"]]
    return SitePlace(
        name=name,
        kind=entry["kind"],
        paths=tuple(_path(blocks, path) for path in paths),
        part=entry.get("part", ""),
        first=entry.get("from", 0),
        optional=entry.get("optional", False),
    )


def _path(blocks: str, path: str) -> str:
    """Lead from the backbone: a path that begins with a slash does so already."""
    return path.removeprefix("/") if path.startswith("/") else f"{blocks}.{{block}}.{path}"
