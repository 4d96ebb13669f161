"""The training part in two halves: one for the weights, one for the gates (Liu et al. 2019)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autopeft.training.batches import Batch, Examples, training_batches


@dataclass(frozen=True, slots=True, kw_only=True)
class Half:
    """Some of the examples of a part, as a part of its own."""

    whole: Examples
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def truth(self) -> NDArray[Any]:
        """What predictions are held against."""
        return self.whole.truth[self.rows]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of every example."""
        return self.whole.lengths[self.rows]

    def batch(self, rows: Sequence[int] | NDArray[np.int64]) -> Batch:
        """Return some of the half's examples; their rows are those of the whole part."""
        return self.whole.batch(self.rows[np.asarray(rows)])


def halves(part: Examples, rng: np.random.Generator) -> tuple[Half, Half]:
    """Divide a part by chance; a single example is in both."""
    order = rng.permutation(len(part))
    middle = max(1, len(order) // 2)
    rest = order[middle:] if len(order) > 1 else order
    return Half(whole=part, rows=order[:middle]), Half(whole=part, rows=rest)


def batches(part: Examples, size: int, rng: np.random.Generator) -> Iterator[Batch]:
    """Yield batches of similar length without an end."""
    while True:
        for rows in training_batches(part, size, rng):
            yield part.batch(rows)
