"""Soft gates on injected cells, without touching a method.

A cell acts through its outer parameters: where they have not moved from where they start, it does
nothing. So what it adds is weighed by z when their move is:

    p' = p0 + z · (p - p0)        dL/dz = <dL/dp', p - p0>        dL/dp = z · dL/dp'

p' is written into the injected parameter, and the gradients follow by the chain rule: exact for
every method that names its ``outer`` parameters, on every architecture. Only a prefix is not gone
when it is closed: as under UniPELT's gate, its zeros keep their share of the softmax. Rows are cut
to a smaller size in the same way, by factors of zero on the last ones; where a recipe divides
scales by the rank, the divisor stays that of the largest.

Axes: G gates, R rows of the largest size.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.configuration import Slot
from autopeft.supernet.gating.structures import Gate
from autopeft.training.batches import Batch, Examples
from autopeft.training.loop import DivergedError, Pace, learned
from autopeft.training.trainer import Tuned

Rows = Mapping[int, Tensor]
"""The factors on the rows of gates that have several sizes, by the gate's place."""


@dataclass(slots=True, eq=False, kw_only=True)
class _Scaled:
    """An injected parameter, what it is before it is scaled, and where it starts."""

    leaf: nn.Parameter
    own: nn.Parameter
    start: Tensor
    gate: int
    weighed: bool
    cut: bool
    weight: float = 1.0
    rows: Tensor | None = None

    def put(self, z: float, rows_R: Tensor | None) -> None:
        self.weight = z if self.weighed else 1.0
        self.rows = None
        if self.cut and rows_R is not None:
            shape = (-1, *[1] * (self.leaf.dim() - 1))
            self.rows = rows_R.to(self.leaf).reshape(shape)
        self.leaf.data.copy_(self.start + self._times(self.own.data - self.start))

    def take(self) -> Tensor:
        """Give the gradient on, and return its product with the move, element by element."""
        gradient = self.leaf.grad
        self.leaf.grad = None
        if gradient is None:
            self.own.grad = torch.zeros_like(self.own)
            return self.own.grad
        self.own.grad = self._times(gradient)
        return gradient * (self.own.data - self.start)

    def _times(self, value: Tensor) -> Tensor:
        value = value * self.weight
        return value if self.rows is None else value * self.rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradients:
    """What one pass gives for the gates, and for the rows of those that have several sizes."""

    gates: Tensor
    rows: dict[int, Tensor] = field(default_factory=dict)


class Gated:
    """A configuration whose cells are weighed by gates, inside the backbone.

    ``trained`` are its parameters by method, to be given to an optimizer in place of those of the
    injection. The cells must have been put in at the largest sizes of their gates. Batches are some
    of the rows of the part ``train``; how they are taken is the ``pace``'s, once it is set.
    """

    def __init__(
        self, tuned: Tuned, slots: Sequence[Slot], gates: Sequence[Gate], train: Examples
    ) -> None:
        self.pace: Pace | None = None
        self._tuned = tuned
        self._train = train
        self._count = len(gates)
        self._scaled: list[_Scaled] = []
        self._moved: list[list[tuple[nn.Parameter, Tensor | float]]] = [[] for _ in gates]
        places = {
            (block, slots[column].name): place
            for place, gate in enumerate(gates)
            for block, column in gate.cells
        }
        methods = {slot.name: slot.method for slot in slots}
        own: dict[int, nn.Parameter] = {}
        for (block, name), attached in tuned.injection.cells().items():
            for parameter, leaf in attached.parameters.items():
                if id(leaf) not in own:
                    gate = places[block, name]
                    own[id(leaf)] = self._add(methods[name], parameter, leaf, gate, gates[gate])
        self.trained: dict[str, list[nn.Parameter]] = {
            method: [own.get(id(parameter), parameter) for parameter in parameters]
            for method, parameters in tuned.injection.by_method().items()
        }

    @property
    def weights(self) -> list[nn.Parameter]:
        """All that is trained beside the gates, the head included."""
        head = self._tuned.model.head().values()
        return [*(p for group in self.trained.values() for p in group), *head]

    def put(self, z_G: Tensor, rows: Rows | None = None) -> None:
        """Weigh every cell by its gate, and its rows by their factors."""
        values = z_G.tolist()
        for scaled in self._scaled:
            scaled.put(values[scaled.gate], rows.get(scaled.gate) if rows else None)

    def gradients(self, batch: Batch, z_G: Tensor, rows: Rows | None = None) -> Gradients:
        """Go forward and back through a batch; those of the weights are left in ``grad``.

        Raises:
            DivergedError: The loss is infinite or no number.
        """
        for parameter in self.weights:
            parameter.grad = None
        self.put(z_G, rows)
        tuned, pace = self._tuned, self.pace
        step = partial(
            learned, tuned.model, self._train, batch.rows, tuned.recipe, tuned.injection.penalty,
            pace=pace,
        )  # fmt: skip
        loss = pace.taken(step, self._with_gradients) if pace else step()
        if not math.isfinite(loss):
            raise DivergedError(f"the loss of the gated network became {loss}")
        return self._take()

    @property
    def _with_gradients(self) -> list[nn.Parameter]:
        return [*self.weights, *(scaled.leaf for scaled in self._scaled)]

    def sensitivities(self) -> Tensor:
        """Return for each gate the mean of abs(move · gradient) over what its cells train."""
        found_G = torch.zeros(self._count, dtype=torch.float64)
        for place, parameters in enumerate(self._moved):
            total, count = 0.0, 0
            for parameter, start in parameters:
                count += parameter.numel()
                if parameter.grad is not None:
                    moved = parameter.data - start
                    total += float((moved * parameter.grad).abs().sum())
            found_G[place] = total / max(1, count)
        return found_G

    def _add(self, method: str, name: str, leaf: nn.Parameter, gate: int, of: Gate) -> nn.Parameter:
        known = METHODS[method]
        weighed = known.outer == ("*",) or name in known.outer
        cut = len(of.sizes) > 1 and name in known.rows
        if not (weighed or cut):
            self._moved[gate].append((leaf, 0.0))
            return leaf
        own = nn.Parameter(leaf.detach().clone())
        at_rest = known.identity and weighed
        start = own.detach().clone() if at_rest else torch.zeros_like(own)
        scaled = _Scaled(leaf=leaf, own=own, start=start, gate=gate, weighed=weighed, cut=cut)
        self._scaled.append(scaled)
        self._moved[gate].append((own, start))
        return own

    def _take(self) -> Gradients:
        gates_G = torch.zeros(self._count, dtype=torch.float64)
        rows: dict[int, Tensor] = {}
        for scaled in self._scaled:
            product = scaled.take()
            if scaled.weighed:
                kept = product if scaled.rows is None else product * scaled.rows
                gates_G[scaled.gate] += float(kept.sum())
            if scaled.cut:
                by_row_R = scaled.weight * product.flatten(1).sum(1).double()
                rows[scaled.gate] = rows.get(scaled.gate, 0) + by_row_R
        return Gradients(gates=gates_G, rows=rows)
