"""The supernet: shared tensors, of which every configuration is a set of views.

A shared tensor is named ``block/slot/parameter``. What all blocks of a column share has ``*`` for
the block. Some methods mean different things by the rows of different sizes (a mask's places, a
random matrix that is scaled by the rank): they have weights of their own for each size, and the
name of the slot ends with ``@size``. What falls away after training (the network that a prefix is
computed with) is named ``~parameter``. The head is ``head/parameter``, the same for all.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from autopeft.errors import SpaceError
from autopeft.methods.places import Attached
from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.checking import partners
from autopeft.search_spaces.configuration import Configuration, Slot
from autopeft.search_spaces.space import SearchSpace
from autopeft.supernet.extent import largest_sizes
from autopeft.training.fisher import choose_masks
from autopeft.training.trainer import Trainer, Tuned
from autopeft.trial import Recipe

HEAD = "head"
"""What stands for the task head where methods are named."""

_CORNERS = frozenset({"moslora", "prefix_mlp", "p_tuning"})
"""No rows of a larger size, but a corner of it, or rows from which a network computes them."""


@dataclass(frozen=True, slots=True)
class View:
    """A parameter of an active configuration, and the shared tensor of which it is the corner."""

    name: str
    method: str
    leaf: Tensor
    whole: Tensor

    @property
    def trained(self) -> bool:
        """Whether training moves it."""
        return self.leaf.requires_grad


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """A configuration that is active: its task model, and the views that its parameters are.

    Writing into a parameter in place writes into the shared tensor.
    """

    tuned: Tuned
    configuration: Configuration
    views: tuple[View, ...]

    @property
    def model(self) -> Any:
        """The backbone with the configuration's modules and the shared head."""
        return self.tuned.model

    @property
    def parameters(self) -> dict[str, Tensor]:
        """What is trained in the injected model, the head included, by its shared name."""
        return {view.name: view.leaf for view in self.views if view.trained}

    @property
    def shared(self) -> dict[str, Tensor]:
        """The shared tensors at their largest sizes, by name."""
        return {view.name: view.whole for view in self.views}


class Supernet:
    """All configurations of a space under a ceiling, in one set of shared tensors.

    Tensors are made when a column is first used, each from a seed of its own, so that they are the
    same in whatever order configurations come.
    """

    def __init__(
        self, trainer: Trainer, space: SearchSpace, ceiling: int, recipe: Recipe, seed: int
    ) -> None:
        self.trainer = trainer
        self.space = space
        self.ceiling = ceiling
        self.recipe = recipe
        self.seed = seed
        self._extent = largest_sizes(space, ceiling)
        self._tensors: dict[str, Tensor] = {}
        self._columns: dict[str, frozenset[str]] = {}
        self._kept: dict[str, Tensor] = {}
        self._make_head()

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The shared tensors made or loaded so far, by name."""
        return {**self._kept, **self._tensors}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the tensors of a supernet of the same space, recipe and seed."""
        for name, value in tensors.items():
            if name in self._tensors:
                self._tensors[name].copy_(value)
            else:
                self._kept[name] = value  # until its column is made

    @contextmanager
    def active(self, configuration: Configuration, *, draw: int = 0) -> Iterator[Subnet]:
        """Put a configuration into the backbone, with shared weights, for a ``with`` block.

        ``draw`` seeds what a method draws while it is trained.

        Raises:
            SpaceError: The configuration holds a cell that no configuration of the space has.
        """
        self._check(configuration)
        for slot, sizes in self._present(configuration).items():
            for size in sizes if _apart(slot) else (None,):
                self._make_column(slot, size)
        slots = self.space.slots
        with self.trainer.tuned(slots, configuration, self.recipe, draw) as tuned:
            views = tuple(self._views(tuned, configuration))
            for view in views:
                corner = tuple(slice(0, width) for width in view.leaf.shape)
                view.leaf.data = view.whole[corner]
            yield Subnet(tuned=tuned, configuration=configuration, views=views)

    def extract(self, configuration: Configuration) -> dict[str, Tensor]:
        """Return a configuration's weights, as ``Injection.load`` takes them."""
        with self.active(configuration) as subnet:
            state = subnet.tuned.injection.state()
            return {name: value.clone() for name, value in state.items()}

    def head(self) -> dict[str, Tensor]:
        """Return a copy of the head that all configurations share, by the head's own names."""
        prefix = f"{HEAD}/"
        return {
            name.removeprefix(prefix): value.clone()
            for name, value in self._tensors.items()
            if name.startswith(prefix)
        }

    def _present(self, configuration: Configuration) -> dict[Slot, set[int]]:
        columns = zip(self.space.slots, zip(*configuration.sizes, strict=True), strict=True)
        return {slot: set(sizes) - {0} for slot, sizes in columns if any(sizes)}

    def _check(self, configuration: Configuration) -> None:
        for block, row in enumerate(configuration.sizes):
            for slot, size, most in zip(self.space.slots, row, self._extent[block], strict=True):
                if size > most:
                    raise SpaceError(
                        f"{slot.name} of size {size} in block {block} is in no configuration of "
                        f"the space {self.space.name!r} within {self.ceiling:,} parameters (the "
                        f"largest is {most}): the supernet has no weights for it"
                    )

    def _views(self, tuned: Tuned, configuration: Configuration) -> Iterator[View]:
        bound: set[int] = set()
        columns = {slot.name: column for column, slot in enumerate(self.space.slots)}
        for (block, slot_name), attached in tuned.injection.cells().items():
            column = columns[slot_name]
            slot, size = self.space.slots[column], configuration.sizes[block][column]
            label = _label(slot, size)
            for parameter, leaf in _weights(attached).items():
                if id(leaf) in bound:
                    continue
                bound.add(id(leaf))
                row = "*" if parameter in self._columns[label] else block
                name = f"{row}/{label}/{parameter}"
                yield View(name, slot.method, leaf, self._tensors[name])
        for parameter, leaf in tuned.model.head().items():
            name = f"{HEAD}/{parameter}"
            yield View(name, HEAD, leaf, self._tensors[name])

    def _make_head(self) -> None:
        nothing = Configuration(((0,) * len(self.space.slots),) * self.space.blocks)
        with self.trainer.tuned(self.space.slots, nothing, self.recipe, self.seed) as tuned:
            for parameter, value in tuned.model.head().items():
                self._tensors[f"{HEAD}/{parameter}"] = value.detach().clone()

    def _make_column(self, slot: Slot, size: int | None) -> None:
        """Draw the weights of a slot in all its blocks, as the method draws them."""
        label = _label(slot, size or 0)
        if label in self._columns:
            return
        seed = _seed(self.seed, label)
        column = self.space.slots.index(slot)
        sizes = self._column(column, size)
        with self.trainer.tuned(self.space.slots, sizes, self.recipe, seed) as tuned:
            injection = tuned.injection
            choose_masks(tuned.model, injection, self.trainer.parts["train"], seed)
            made: dict[str, dict[int, Tensor]] = {}
            for (block, name), attached in injection.cells().items():
                if name == slot.name:
                    for parameter, value in _weights(attached).items():
                        made.setdefault(parameter, {})[block] = value
        common = frozenset(
            parameter for parameter, values in made.items()
            if len(values) > 1 and len(set(map(id, values.values()))) == 1
        )  # fmt: skip
        self._columns[label] = common
        for parameter, values in made.items():
            for block, value in values.items():
                row = "*" if parameter in common else block
                self._add(f"{row}/{label}/{parameter}", value)

    def _add(self, name: str, value: Tensor) -> None:
        if name not in self._tensors:
            kept = self._kept.pop(name, None)
            self._tensors[name] = value.detach().clone() if kept is None else kept

    def _column(self, column: int, size: int | None) -> Configuration:
        """Return the table that holds a column alone, with what it acts on beside it."""
        needed = dict(partners(self.space.slots)).get(column)
        rows = []
        for extent in self._extent:
            row, most = [0] * len(self.space.slots), extent[column]
            beside = next((i for i in needed or () if extent[i]), None)
            if most and most >= (size or 1) and (needed is None or beside is not None):
                row[column] = size or most
                if beside is not None:
                    row[beside] = 1
            rows.append(tuple(row))
        return Configuration(tuple(rows))


def _weights(attached: Attached) -> dict[str, Tensor]:
    """Return what a cell brings along: trained or fixed, or what computes it, by name."""
    if attached.scaffold:
        return {f"~{name}": value for name, value in attached.scaffold.items()}
    return {**attached.parameters, **attached.fixed}


def _apart(slot: Slot) -> bool:
    """Tell whether every size of a slot has weights of its own."""
    method = METHODS[slot.method]
    return not (method.elastic or method.size == "switch" or slot.method in _CORNERS)


def _label(slot: Slot, size: int) -> str:
    return f"{slot.name}@{size}" if _apart(slot) else slot.name


def _seed(seed: int, label: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{label}".encode()).digest()[:7], "big")


def leaves(views: tuple[View, ...]) -> list[nn.Parameter]:
    """Return what is trained in an active configuration."""
    return [view.leaf for view in views if view.trained and isinstance(view.leaf, nn.Parameter)]
