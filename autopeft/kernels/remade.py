"""Activations that are made again in the backward, where only what they come from is kept.

A GELU keeps its input, and a normalisation too: what they return need not be kept as well for the
products that take it. Whoever runs such a function may `note` it; an operator that would keep the
result asks for it (`remade`) and keeps the source. The function runs again as it did, so that the
gradients are equal bit for bit. It takes some per cent of a step's time, so it is done where memory
is short (`sparing`).
"""

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

Way = Callable[[Tensor], Tensor]


class Remade:
    """How a result that some operators take is made from its source, which they keep."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._takers = 0
        self._made: Tensor | None = None

    def taken(self) -> "Remade":
        """Count an operator that will ask once for the result, in its backward."""
        self._takers += 1
        return self

    def again(self, source: Tensor) -> Tensor:
        """Return the result, made once and held until the last of those who take it has it."""
        made = self._way(source) if self._made is None else self._made
        self._takers -= 1
        self._made = made if self._takers > 0 else None
        return made


@dataclass(frozen=True, slots=True, eq=False)
class _Note:
    """A source, and the state in which a result came from it."""

    source: Tensor
    version: int
    remade: Remade


_spares: ContextVar[bool] = ContextVar("_spares", default=False)


@contextmanager
def sparing() -> Iterator[None]:
    """Let what can be made again not be kept, for the time of a ``with`` block."""
    before = _spares.set(True)
    try:
        yield
    finally:
        _spares.reset(before)


def is_sparing() -> bool:
    """Tell whether what can be made again is not kept now."""
    return _spares.get()


_noted: MutableMapping[Tensor, _Note] = WeakIdKeyDictionary()


def note(result: Tensor, source: Tensor, way: Way) -> None:
    """Remember that ``way(source)`` gives a result, for as long as the result lives."""
    version = result._version  # noqa: SLF001  # torch has no other name
    _noted[result] = _Note(source, version, Remade(way))


def forget(result: Tensor) -> None:
    """Let a tensor be kept as it is from now on."""
    _noted.pop(result, None)


def remade(result: Tensor) -> tuple[Tensor, Remade] | None:
    """Return what a tensor is made from, and how; None where it has to be kept.

    That is also so where something has been written into it since.
    """
    found = _noted.get(result)
    if found is None or found.version != result._version:  # noqa: SLF001  # as above
        return None
    return found.source, found.remade.taken()
