"""Put the modules of a configuration into a backbone, and take them out again."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from autopeft.backbone import Backbone
from autopeft.errors import PlanError
from autopeft.methods import bitfit, lora, parallel_adapter, prefix, serial_adapter
from autopeft.methods.places import Attached, Block
from autopeft.search_spaces.configuration import Configuration, Slot

Attach = Callable[[Block, str, int, float, torch.Generator], Attached]

ATTACH: Mapping[str, Attach] = {
    "lora": lora.attach,
    "serial_adapter": serial_adapter.attach,
    "parallel_adapter": parallel_adapter.attach,
    "prefix": prefix.attach,
    "bitfit": bitfit.attach,
}


class Injection:
    """The trained parameters of a configuration inside a model.

    They are named ``block/slot/parameter``, such as ``3/lora@attention.query/down``, and are the
    same on every architecture.
    """

    def __init__(self) -> None:
        self._named: dict[str, nn.Parameter] = {}
        self._by_method: defaultdict[str, list[nn.Parameter]] = defaultdict(list)

    def add(self, block: int, slot: Slot, attached: Attached) -> None:
        """Remember what a slot has put into a block."""
        for name, parameter in attached.parameters.items():
            self._named[f"{block}/{slot.name}/{name}"] = parameter
            self._by_method[slot.method].append(parameter)

    def by_method(self) -> Mapping[str, Sequence[nn.Parameter]]:
        """Return the parameters of each method that is present."""
        return self._by_method

    def count(self) -> int:
        """Count the elements that are trained."""
        return sum(parameter.numel() for parameter in self._named.values())

    def state(self) -> dict[str, Tensor]:
        """Return the values by name, detached."""
        return {name: parameter.detach() for name, parameter in self._named.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over values by name.

        Raises:
            PlanError: A tensor is missing, left over or of another shape.
        """
        if wrong := sorted(set(state) ^ set(self._named)):
            kind = "lacks" if wrong[0] in self._named else "has an unknown"
            raise PlanError(f"the weights do not fit the configuration: it {kind} {wrong[0]!r}")
        for name, parameter in self._named.items():
            if parameter.shape != state[name].shape:
                raise PlanError(
                    f"the weights do not fit the configuration: {name!r} has shape "
                    f"{tuple(state[name].shape)} instead of {tuple(parameter.shape)}"
                )
        with torch.no_grad():
            for name, parameter in self._named.items():
                parameter.copy_(state[name])


@contextmanager
def injected(  # noqa: PLR0917  # the model, what goes into it, and how
    model: nn.Module,
    backbone: Backbone,
    slots: Sequence[Slot],
    configuration: Configuration,
    scales: Mapping[str, float],
    generator: torch.Generator,
) -> Iterator[Injection]:
    """Freeze a model and put a configuration's modules into it for the time of a ``with`` block.

    Afterwards the model is what it was before, bit for bit, with all of it frozen. ``scales`` maps
    methods to their constant factors (1 where a method has none).
    """
    model.requires_grad_(requires_grad=False)
    injection = Injection()
    with ExitStack() as undo:
        for number, row in enumerate(configuration.sizes):
            if not any(row):
                continue
            block = Block(model, backbone, number)
            for slot, size in _inside_out(slots, row):
                if size:
                    scale = scales.get(slot.method, 1.0)
                    attached = ATTACH[slot.method](block, slot.site, size, scale, generator)
                    undo.callback(attached.undo)
                    injection.add(number, slot, attached)
        yield injection


def _inside_out(slots: Sequence[Slot], row: Sequence[int]) -> list[tuple[Slot, int]]:
    # LoRA replaces the frozen matrix itself, and what others have put around it would be lost:
    # the order is that of the methods above, whatever the order of the columns is.
    order = list(ATTACH)
    return sorted(zip(slots, row, strict=True), key=lambda cell: order.index(cell[0].method))
