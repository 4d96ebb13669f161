"""The frozen pretrained transformer as a value: its shape, without its weights.

An architecture is data: a YAML file in ``architectures/`` says where in a block each site is.
Widths are not written there; they are read from the model's own modules on the meta device.
"""

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

import yaml

from autopeft.errors import BackboneError

SiteKind = Literal["linear", "norm", "attention"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A module in every block at which a method can sit.

    ``path`` leads from the backbone to the module and contains ``{block}``. ``inputs`` and
    ``outputs`` are its widths; a norm has equal ones, attention those of its keys and values.
    """

    name: str
    kind: SiteKind
    path: str
    inputs: int
    outputs: int
    bias: bool

    def module_path(self, block: int) -> str:
        """Return the path of the module in one block."""
        return self.path.format(block=block)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """What a search knows of the pretrained transformer.

    ``parameters`` counts all of it without a task head and is the denominator of a budget.
    ``digest`` names the weights, so that a study cannot go on with others.
    """

    name: str
    architecture: str
    blocks: int
    width: int
    parameters: int
    sites: tuple[Site, ...]
    digest: str

    def site(self, name: str) -> Site:
        """Return the site of this name, which the caller knows to exist."""
        return next(site for site in self.sites if site.name == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePlace:
    """Where one site lies inside a block."""

    name: str
    kind: SiteKind
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Where the sites of a family of models are."""

    name: str
    model_types: tuple[str, ...]
    blocks: str
    places: tuple[SitePlace, ...]


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
        blocks=document["blocks"],
        places=tuple(
            SitePlace(
                name=site,
                kind=place["kind"],
                path=f"{document['blocks']}.{{block}}.{place['path']}",
            )
            for site, place in document["sites"].items()
        ),
    )
