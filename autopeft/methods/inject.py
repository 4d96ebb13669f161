"""Put the modules of a configuration into a backbone, and take them out again."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from autopeft.backbone import Backbone
from autopeft.errors import PlanError
from autopeft.methods.places import Attached, Block, Choice, Making
from autopeft.methods.precision import held_in_single, in_fewer_bits
from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.checking import faults
from autopeft.search_spaces.configuration import Configuration, Slot
from autopeft.trial import GateMean, RankScaling

Attach = Callable[[Block, str, Making], Attached]


@cache
def attach_of(method: str) -> Attach:
    """Load the function that puts a method into a block."""
    module, _, name = METHODS[method].attach.partition(":")
    attach: Attach = getattr(import_module(module), name)
    return attach


class Injection:
    """The trained parameters of a configuration inside a model.

    They are named ``block/slot/parameter``, such as ``3/lora@attention.query/down``, and are the
    same on every architecture.
    """

    def __init__(self) -> None:
        self._named: dict[str, nn.Parameter] = {}
        self._by_method: defaultdict[str, list[nn.Parameter]] = defaultdict(list)
        self._scaffold: list[nn.Parameter] = []
        self._attached: list[Attached] = []
        self._cells: dict[tuple[int, str], Attached] = {}
        self._fixed: dict[str, Tensor] = {}
        self._unmergeable: list[Slot] = []
        self._frozen: dict[int, nn.Parameter] = {}

    def add(self, at: Block, slot: Slot, attached: Attached) -> None:
        """Remember what a slot has put into a block.

        A parameter that blocks share is remembered once, under the first of them.
        """
        block = at.number
        known = {id(parameter) for parameter in self._named.values()}
        for name, parameter in attached.parameters.items():
            if id(parameter) not in known:
                self._named[f"{block}/{slot.name}/{name}"] = parameter
                self._by_method[slot.method].append(parameter)
        self._by_method[slot.method].extend(attached.scaffold.values())
        self._scaffold.extend(attached.scaffold.values())
        self._attached.append(attached)
        self._frozen.update({id(parameter): parameter for parameter in at.frozen})
        self._cells[block, slot.name] = attached
        self._fixed.update({f"{block}/{slot.name}/{n}": t for n, t in attached.fixed.items()})
        if attached.merge is None:
            self._unmergeable.append(slot)

    def penalty(self) -> Tensor | None:
        """Return what the methods add to the loss of a step, or None where none adds anything."""
        terms = [attached.penalty() for attached in self._attached if attached.penalty]
        return torch.stack(terms).sum() if terms else None

    def stepped(self, step: int, whole: int) -> None:
        """Tell the methods that ``step`` of the ``whole`` recipe's steps are done."""
        for attached in self._attached:
            if attached.stepped:
                attached.stepped(step, whole)

    def merge(self) -> None:
        """Add what was learned to the backbone's own weights, for good.

        Call it last of all inside ``injected``: the modules go when that ends, the weights stay.
        Half precision weights are rounded once, when all of it is in them.

        Raises:
            PlanError: A method is present that cannot be merged, and the reason is named; or the
                weights are quantised.
        """
        if self._unmergeable:
            slot = self._unmergeable[0]
            raise PlanError(f"{slot.name} cannot be merged: {METHODS[slot.method].merge}")
        if any(map(in_fewer_bits, self._frozen.values())):
            raise PlanError(
                "nothing can be merged into quantised weights: autopeft export --format merged "
                "merges into those of the model's own files, and autopeft.load takes the adapter"
            )
        for attached in self._attached:
            if attached.before_merge:
                attached.before_merge()
        with held_in_single(self._frozen.values()):
            for attached in self._attached:
                if attached.merge:
                    attached.merge()

    def choices(self) -> Sequence[Choice]:
        """Return what must be decided by the data before training begins."""
        return [attached.choice for attached in self._attached if attached.choice]

    def cells(self) -> Mapping[tuple[int, str], Attached]:
        """Return what each cell has put in, by its row and the name of its slot."""
        return self._cells

    @property
    def resumable(self) -> bool:
        """Whether its parameters are all that training changes.

        They are not where a method keeps account of the steps, or chose something by the data.
        """
        return not any(attached.stepped or attached.choice for attached in self._attached)

    def by_method(self) -> Mapping[str, Sequence[nn.Parameter]]:
        """Return the parameters of each method that is present."""
        return self._by_method

    def named(self) -> Mapping[str, nn.Parameter]:
        """Return what is trained and kept, by name."""
        return self._named

    def scaffold(self) -> Sequence[nn.Parameter]:
        """Return what is trained beside it and falls away when training ends."""
        return self._scaffold

    def tensors(self) -> Sequence[Tensor]:
        """Return all that was put in: what is trained, and what is kept beside it."""
        return [*self._named.values(), *self._scaffold, *self._fixed.values()]

    def count(self) -> int:
        """Count the elements that are trained and kept."""
        return sum(parameter.numel() for parameter in self._named.values())

    def state(self) -> dict[str, Tensor]:
        """Return the values by name, detached, and what is kept beside them though not trained.

        What a scaffold computes is brought up to date; the scaffold itself is no part of it.
        """
        for attached in self._attached:
            if attached.settle:
                attached.settle()
        return {name: parameter.detach() for name, parameter in self._kept().items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over values by name; scaffolds fall away.

        Raises:
            PlanError: A tensor is missing, left over or of another shape.
        """
        kept = self._kept()
        if wrong := sorted(set(state) ^ set(kept)):
            kind = "lacks" if wrong[0] in kept else "has an unknown"
            raise PlanError(f"the weights do not fit the configuration: it {kind} {wrong[0]!r}")
        for name, parameter in kept.items():
            if parameter.shape != state[name].shape:
                raise PlanError(
                    f"the weights do not fit the configuration: {name!r} has shape "
                    f"{tuple(state[name].shape)} instead of {tuple(parameter.shape)}"
                )
        with torch.no_grad():
            for name, parameter in kept.items():
                parameter.copy_(state[name])
        for attached in self._attached:
            if attached.dismantle:
                attached.dismantle()

    def _kept(self) -> dict[str, Tensor]:
        return {**self._named, **self._fixed}


@contextmanager
def injected(  # noqa: PLR0917  # the model, what goes into it, and how
    model: nn.Module,
    backbone: Backbone,
    slots: Sequence[Slot],
    configuration: Configuration,
    scales: Mapping[str, float],
    generator: torch.Generator,
    rank_scaling: RankScaling = "constant",
    gate_mean: GateMean = "mask",
) -> Iterator[Injection]:
    """Freeze a model and put a configuration's modules into it for the time of a ``with`` block.

    Afterwards the model is what it was before, bit for bit, with all of it frozen. ``scales`` maps
    methods to their constant factors (1 where a method has none); ``rank_scaling`` tells by what
    those of methods whose size is a rank are divided. ``gate_mean`` tells whether padding counts
    in the mean of a gate.

    Raises:
        PlanError: The configuration holds a size or a pair of slots that the backbone cannot take.
    """
    if wrong := next(faults(configuration, slots), None):
        raise PlanError(f"the configuration does not fit the backbone: {wrong}")
    model.requires_grad_(requires_grad=False)
    injection = Injection()
    everywhere: dict[str, Any] = {"gate_mean": gate_mean}
    shared: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    with ExitStack() as undo:
        for number, row in enumerate(configuration.sizes):
            if not any(row):
                continue
            block = Block(model, backbone, number)
            for slot, size in _inside_out(slots, row):
                making = Making(
                    size=size,
                    scale=scales.get(slot.method, 1.0) / divisor(slot, size, rank_scaling),
                    generator=generator,
                    shared=shared[slot.name],
                    everywhere=everywhere,
                )
                attached = attach_of(slot.method)(block, slot.site, making)
                block.attached[slot.name] = attached
                undo.callback(attached.undo)
                injection.add(block, slot, attached)
        yield injection


def divisor(slot: Slot, size: int, rank_scaling: RankScaling) -> float:
    """Return what the scale of a slot is divided by at a size."""
    method = METHODS[slot.method]
    if rank_scaling == "constant" or method.size != "rank" or method.scale is None:
        return 1.0
    return float(size) if rank_scaling == "inverse" else math.sqrt(size)


def _inside_out(slots: Sequence[Slot], row: Sequence[int]) -> list[tuple[Slot, int]]:
    # What replaces a frozen weight must come before what is put around the module: the order is
    # that of the catalog, whatever the order of the columns is.
    order = {name: place for place, name in enumerate(METHODS)}
    present = [(slot, size) for slot, size in zip(slots, row, strict=True) if size]
    return sorted(present, key=lambda cell: (order[cell[0].method], cell[0].site))
