"""Configurations whose first rows are equal: those blocks are computed once a batch for all.

A block's output depends on the rows up to its own and on nothing behind them. Configurations in the
order of their rows visit the tree of all beginnings depth first, so that what is kept at a time are
outputs along one branch: those at which a later configuration leaves it.

What lies below all that a configuration changes is a beginning too, of empty rows. It is kept for
good, because every later call meets it again.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any

from torch import nn

from autopeft.backbone import Backbone
from autopeft.search_spaces.configuration import Configuration
from autopeft.supernet.trunk import lowest_row
from autopeft.training.trunk.standing import bytes_of, returning, standing_in

Rows = tuple[tuple[int, ...], ...]


class Beginning:
    """What the blocks of the latest configuration returned for one batch, as far as it is kept.

    ``blocks`` are the modules of the rows, and ``limit`` the bytes that are kept at most. Right
    only where nothing is random: the model predicts.
    """

    def __init__(self, backbone: Backbone, blocks: Sequence[nn.Module], limit: float) -> None:
        self._blocks = blocks
        self._ends = [stack.first + stack.blocks - 1 for stack in backbone.stacks]
        self._limit = limit
        self._known: dict[Rows, Any] = {}

    @property
    def bytes(self) -> int:
        """What is kept."""
        return sum(map(bytes_of, self._known.values()))

    @contextmanager
    def of(self, configuration: Configuration, leaving: Collection[int] = ()) -> Iterator[int]:
        """Let kept outputs stand in for blocks while a configuration predicts; yield how many.

        ``leaving`` are the numbers of rows that later configurations have in common with this one.
        """
        rows = configuration.sizes
        self._known = {
            begun: output
            for begun, output in self._known.items()
            if begun == rows[: len(begun)] or not any(map(any, begun))
        }
        start = self._start(rows)
        ran: dict[int, list[Any]] = {}
        with ExitStack() as undo:
            for number in range(start):
                output = self._known[rows[: self._reached(number, start)]]
                undo.enter_context(standing_in(self._blocks[number], returning(output)))
            for count in self._needed({*leaving, lowest_row(configuration)}):
                if count > start:
                    block = self._blocks[count - 1]
                    noted = _noting(block.forward, ran.setdefault(count, []))
                    undo.enter_context(standing_in(block, noted))
            yield start
        for count, outputs in ran.items():
            # ALBERT runs one block often: no such output stands for a row
            if len(outputs) == 1 and self.bytes + bytes_of(outputs[0]) <= self._limit:
                self._known[rows[:count]] = outputs[0]

    def _start(self, rows: Rows) -> int:
        """Count the first blocks that need not run."""
        counts = (n for n in range(len(rows), 0, -1) if rows[:n] in self._known)
        complete = (n for n in counts if all(rows[:m] in self._known for m in self._needed({n})))
        return next(complete, 0)

    def _needed(self, counts: Collection[int]) -> set[int]:
        """Return after how many rows an output is needed to go on from some.

        There, and where a stack below ends, which a decoder looks back at.
        """
        most = max(counts, default=0)
        return (set(counts) | {end + 1 for end in self._ends if end + 1 < most}) - {0}

    def _reached(self, number: int, start: int) -> int:
        """Return the count of rows whose output stands in for a block.

        Of those in one stack the last decides: what the others pass on is seen by nobody.
        """
        return min([start, *(end + 1 for end in self._ends if end >= number)])


def order_of(configurations: Sequence[Configuration]) -> list[int]:
    """Return the places of configurations, those that begin alike one after another."""
    return sorted(range(len(configurations)), key=lambda place: configurations[place].sizes)


def leaving(configurations: Sequence[Configuration]) -> Iterator[frozenset[int]]:
    """Yield for each of configurations in order what it has in common with those after it."""
    shared = [_common(*pair) for pair in pairwise(configurations)]
    for place in range(len(configurations)):
        yield frozenset(_falling(shared[place:]))


def _falling(shared: Sequence[int]) -> Iterator[int]:
    least = None
    for count in shared:
        least = count if least is None else min(least, count)
        if not least:
            return
        yield least


def _common(one: Configuration, other: Configuration) -> int:
    rows = zip(one.sizes, other.sizes, strict=True)
    differing = (number for number, (mine, its) in enumerate(rows) if mine != its)
    return next(differing, len(one.sizes))


def _noting(forward: Callable[..., Any], outputs: list[Any]) -> Callable[..., Any]:
    """Note what a block returns before its hooks come: they come for what stands in too."""

    def noting(*args: Any, **kwargs: Any) -> Any:
        outputs.append(forward(*args, **kwargs))
        return outputs[-1]

    return noting
