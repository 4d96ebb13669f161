"""How much memory a step takes at its peak: the tensors that are there at once, counted.

Every operator's results are counted while they are there, a storage once, through the forward and
the backward; so it comes out equal every time, and what is computed twice counts as it falls. What
an operator takes for itself and gives back before it returns is not seen, nor is what the allocator
keeps. What stays from the forward to the backward is counted by itself too.
"""

import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from torch import Tensor, UntypedStorage
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _EnoughError(BaseException):
    """More is there than was allowed; nothing on the way may take it for an error of its own."""


def peak_of(step: Callable[[], None], known: Iterable[Tensor], most: float = float("inf")) -> int:
    """Return the most bytes that a step has at once, beside what is ``known`` and stays.

    A step that comes to more than ``most`` ends there, and what it came to is returned.
    """
    counting = _Counting(known, most)
    with suppress(_EnoughError), counting:
        step()
    return counting.peak


def saved_by(loss: Callable[[], Tensor], known: Iterable[Tensor]) -> int:
    """Return the bytes that a loss keeps for its backward, beside what is ``known`` and stays."""
    stays = {_name(tensor.untyped_storage()) for tensor in known}
    # They are held, or the name of one that has gone could be given to another.
    saved: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with saved_tensors_hooks(keep, lambda kept: kept):
        graph = loss()
    storages = {_name(s): s.nbytes() for s in (tensor.untyped_storage() for tensor in saved)}
    del graph  # until here it stands
    return sum(size for name, size in storages.items() if name not in stays)


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Counts the bytes of storages that were made and have not gone yet."""

    def __init__(self, known: Iterable[Tensor], most: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.peak = 0
        self._now = 0
        self._most = most
        self._seen = {_name(tensor.untyped_storage()) for tensor in known}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator, and count what it has made."""
        results = func(*args, **(kwargs or {}))
        for result in tree_leaves(results):
            if isinstance(result, Tensor):
                self._add(result.untyped_storage())
        return results

    def _add(self, storage: UntypedStorage) -> None:
        name = _name(storage)
        if name in self._seen:
            return
        self._seen.add(name)
        size = storage.nbytes()
        weakref.finalize(storage, self._forget, name, size).atexit = False
        self._now += size
        self.peak = max(self.peak, self._now)
        if self.peak > self._most:
            raise _EnoughError

    def _forget(self, name: int, size: int) -> None:
        self._seen.discard(name)
        self._now -= size


def _name(storage: UntypedStorage) -> int:
    # Unlike the place of its bytes, it is another one for every storage, also for empty ones.
    name: int = storage._cdata  # noqa: SLF001  # torch has no other name for it
    return name
