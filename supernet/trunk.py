"""The frozen blocks below all that a configuration changes: computed once a batch, for all of them.

Kept in memory, for the few batches that a supernet is scored on or trained with at a time. What
trials need of all the data is kept on disk, see ``autopeft.training.trunk``.

A block below a configuration's lowest row gives for the same batch what it gives without any
method. The first configuration that runs it records its output; in every later one the recorded
output stands in for the block. The rows of an encoder-decoder are numbered through its stacks, so
that a configuration of the decoder finds its whole encoder recorded.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from autopeft.search_spaces.configuration import Configuration
from autopeft.training.trunk.standing import bytes_of, recorded, returning, standing_in


def lowest_row(configuration: Configuration) -> int:
    """Return the first row that holds something; the number of rows where none does.

    What sits at the embeddings is in the first row of their stack.
    """
    rows = (number for number, row in enumerate(configuration.sizes) if any(row))
    return next(rows, len(configuration.sizes))


class Trunk:
    """What the untouched blocks return for one batch.

    ``blocks`` are the modules of the rows. Right only where nothing is random below: with dropout
    no two passes are the same. ``limit`` is how many bytes are recorded at most.
    """

    def __init__(self, blocks: Sequence[nn.Module], limit: float = float("inf")) -> None:
        self._blocks = blocks
        self._limit = limit
        self._outputs: dict[int, Any] = {}
        self.bytes = 0

    @contextmanager
    def below(self, row: int) -> Iterator[None]:
        """Let recorded outputs stand in for the blocks below a row, and record those that run."""
        ran: dict[int, list[Any]] = {}
        with ExitStack() as undo:
            for number, block in enumerate(self._blocks[:row]):
                if number in self._outputs:
                    undo.enter_context(standing_in(block, returning(self._outputs[number])))
                else:
                    undo.enter_context(recorded(block, ran.setdefault(number, [])))
            yield
        for number, outputs in ran.items():
            self._keep(number, outputs)

    def _keep(self, number: int, outputs: Sequence[Any]) -> None:
        if len(outputs) == 1 and self.bytes + bytes_of(outputs[0]) <= self._limit:
            self._outputs[number] = outputs[0]  # ALBERT runs one block often: not such a one
            self.bytes += bytes_of(outputs[0])
