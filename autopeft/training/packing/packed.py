"""One module in place of those of several lanes: each sees the rows of the batch that are its own.

Axes: N rows of all lanes, one lane after another.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from autopeft.training.packing.grouped import grouped


class Division:
    """Whose the rows of the batch are that is passing through."""

    def __init__(self) -> None:
        self.rows: tuple[int, ...] = ()

    @contextmanager
    def of(self, rows: Sequence[int]) -> Iterator[None]:
        """Let each lane have so many rows for the time of a ``with`` block."""
        self.rows = tuple(rows)
        try:
            yield
        finally:
            self.rows = ()


class Packed(nn.Module):
    """The modules that lanes have at one place, each called with its own rows.

    LoRA beside one frozen layer is computed for all in one call.

    ``given`` and ``returned`` say of what the module takes and returns whether it has a row for
    each example: a nest of truths like the nest of values; see `carrying`.
    """

    def __init__(
        self, lanes: Sequence[nn.Module], division: Division, given: Any, returned: Any
    ) -> None:
        super().__init__()
        self.lanes = nn.ModuleList(lanes)
        self._division = division
        self._given, self._returned = given, returned
        self._grouped = grouped(lanes)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            lanes: Any = super().__getattr__("lanes")
            return getattr(lanes[0], name)  # what models ask blocks for

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the lanes return, one after another."""
        rows = self._division.rows
        if self._grouped and not kwargs and len(args) == 1 and isinstance(args[0], Tensor):
            return self._grouped(args[0], rows)
        divided = _divided((args, kwargs), self._given, rows)
        found = [
            lane(*own_args, **own_kwargs)
            for lane, (own_args, own_kwargs) in zip(self.lanes, divided, strict=True)
        ]
        return _joined(found, self._returned)


def carrying(one: Any, two: Any) -> Any:
    """Tell which tensors have rows for examples: those that grow with their number.

    ``one`` are values that a module was called with, or returned, for one example, and ``two``
    those for two. A tensor may have several rows for an example, as where tokens are flattened.
    """
    if isinstance(one, Tensor):
        return one.dim() > 0 and len(two) == 2 * len(one)
    if isinstance(one, Mapping):
        return {name: carrying(value, two[name]) for name, value in one.items()}
    if isinstance(one, (tuple, list)):
        return tuple(map(carrying, one, two))
    return False


def any_in(carries: Any) -> bool:
    """Tell whether there is a tensor with rows for examples at all."""
    if isinstance(carries, Mapping):
        return any(map(any_in, carries.values()))
    return any(map(any_in, carries)) if isinstance(carries, tuple) else bool(carries)


def _divided(value: Any, carries: Any, rows: Sequence[int]) -> list[Any]:
    """Return what each lane gets of a value."""
    if isinstance(value, Tensor):
        if not carries:
            return [value] * len(rows)
        each = len(value) // sum(rows)
        return list(torch.split(value, [each * count for count in rows]))
    if isinstance(value, Mapping):
        parts = {n: _divided(v, _of(carries, n), rows) for n, v in value.items()}
        return [{name: part[lane] for name, part in parts.items()} for lane in range(len(rows))]
    if isinstance(value, (tuple, list)):
        items = [_divided(v, _of(carries, n), rows) for n, v in enumerate(value)]
        return [type(value)(item[lane] for item in items) for lane in range(len(rows))]
    # A memory of earlier tokens is for texts that are generated; lanes must not share one.
    return [None if type(value).__name__.endswith("Cache") else value] * len(rows)


def _of(carries: Any, key: Any) -> Any:
    if isinstance(carries, Mapping):
        return carries.get(key, False)
    return carries[key] if isinstance(carries, tuple) and key < len(carries) else False


def _joined(found: Sequence[Any], carries: Any) -> Any:
    first = found[0]
    if isinstance(first, Tensor):
        return torch.cat(list(found)) if carries else first
    if isinstance(first, Mapping):
        return type(first)(**{n: _joined([f[n] for f in found], _of(carries, n)) for n in first})
    if isinstance(first, (tuple, list)):
        parts = (_joined([f[n] for f in found], _of(carries, n)) for n in range(len(first)))
        return type(first)(parts)
    return first
