"""The sites of one block of a loaded model, and how modules are put there and taken away."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from autopeft.backbone import Backbone

Undo = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """What a method has put into a block: its trained parameters by name, and the way back."""

    parameters: dict[str, nn.Parameter]
    undo: Undo


class Block:
    """One block of the backbone, seen through its sites."""

    def __init__(self, model: nn.Module, backbone: Backbone, number: int) -> None:
        self.backbone = backbone
        self._model = model
        self._paths = {site.name: site.module_path(number) for site in backbone.sites}
        self._original = {name: model.get_submodule(path) for name, path in self._paths.items()}

    def original(self, site: str) -> nn.Module:
        """Return the backbone's own module at a site, whatever has been wrapped around it."""
        return self._original[site]

    def wrap(self, site: str, around: Callable[[nn.Module], nn.Module]) -> Undo:
        """Replace what is at a site now by a module around it."""
        parent_path, _, name = self._paths[site].rpartition(".")
        parent = self._model.get_submodule(parent_path)
        inner = parent.get_submodule(name)
        setattr(parent, name, around(inner))
        return lambda: setattr(parent, name, inner)
