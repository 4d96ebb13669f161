"""The sites of one block of a loaded model, and how modules are put there and taken away."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from autopeft.backbone import Backbone, Site

Undo = Callable[[], None]

Factor = Callable[[torch.Tensor], torch.Tensor]
"""Makes of what a module reads a number for each text or token: its leading axes, each or 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a method must know of the data before it is trained.

    ``choose`` takes the mean squared gradient of the loss with respect to the frozen ``weight``.
    """

    weight: nn.Parameter
    choose: Callable[[torch.Tensor], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """What a method has put into a block.

    ``parameters`` are trained and kept, by name. ``scaffold`` are trained too, but fall away when
    training ends (the network that a prefix is computed with). ``undo`` takes everything out again;
    ``merge``, where the method has one, adds what was learned to the backbone's own weights, after
    which ``undo`` leaves the merged weights behind. ``before_merge`` is called of all before any is
    merged: what depends on the frozen weights is worked out while they still are. ``penalty`` is
    added to the loss of every step, and ``stepped`` is called after each with the steps done and
    those of the whole recipe. ``fixed`` is kept with the parameters but not trained, and ``choice``
    decides it by the data.

    A scaffold that computes the parameters comes with two functions: ``settle`` writes into them
    what it makes of them now, and ``dismantle`` lets them stand for themselves from then on.
    """

    parameters: dict[str, nn.Parameter]
    undo: Undo
    merge: Callable[[], None] | None = None
    before_merge: Callable[[], None] | None = None
    scaffold: dict[str, nn.Parameter] = field(default_factory=dict)
    penalty: Callable[[], torch.Tensor] | None = None
    stepped: Callable[[int, int], None] | None = None
    fixed: dict[str, torch.Tensor] = field(default_factory=dict)
    choice: Choice | None = None
    settle: Callable[[], None] | None = None
    dismantle: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """How a method's module is made.

    ``scale`` is its constant factor. ``shared`` is the column's own memory: what one block leaves
    there (frozen random matrices, parameters for all blocks), the next finds; ``everywhere`` is the
    same for all columns of the configuration.
    """

    size: int
    scale: float
    generator: torch.Generator
    shared: dict[str, Any] = field(default_factory=dict)
    everywhere: dict[str, Any] = field(default_factory=dict)


class Block:
    """One block of the backbone, seen through its sites.

    ``number`` is its row in a configuration. ``attached`` is what has been put into it so far, by
    the name of the slot.
    """

    def __init__(self, model: nn.Module, backbone: Backbone, number: int) -> None:
        self.backbone = backbone
        self.model = model
        self.number = number
        self.attached: dict[str, Attached] = {}
        self._sites = {s.name: s for s in backbone.sites if s.blocks[0] <= number < s.blocks[1]}
        self._paths = {
            name: backbone.module_path(site, number)
            for name, site in self._sites.items()
            if site.path
        }
        self._original = {name: model.get_submodule(path) for name, path in self._paths.items()}
        self._frozen = [p for m in self._original.values() for p in m.parameters(recurse=False)]

    @property
    def frozen(self) -> Sequence[nn.Parameter]:
        """The backbone's own parameters at the sites, also where trained ones stand in for them."""
        return self._frozen

    @property
    def sites(self) -> Mapping[str, Site]:
        """The sites that this block has, by name."""
        return self._sites

    def beside(self, site: str, place: str) -> Site | None:
        """Return the site at another place of the same stack, or None where there is none."""
        found = self.backbone.find(self._sites[site].stack, place)
        return found if found and found.name in self._sites else None

    def original(self, site: str) -> nn.Module:
        """Return the backbone's own module at a site, whatever has been wrapped around it."""
        return self._original[site]

    def wrap(self, site: str, around: Callable[[nn.Module], nn.Module]) -> Undo:
        """Replace what is at a site now by a module around it."""
        parent_path, _, name = self._paths[site].rpartition(".")
        parent = self.model.get_submodule(parent_path)
        inner = parent.get_submodule(name)
        outer = around(inner)
        if getattr(outer, "weight", None) is None:
            outer.__dict__["weight"] = None  # T5 asks layers for their weight, and accepts None
        setattr(parent, name, outer)
        return lambda: setattr(parent, name, inner)
