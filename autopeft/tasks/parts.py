"""The rows of one part of the data, as a model's side takes them: one class a form of data.

Every one has ``truth``, what predictions are held against, with an example a row, and ``take``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autopeft.tasks.table import Image

Labels = NDArray[np.int64] | NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)  # arrays have no single equality
class Texts:
    """Texts, or pairs of them, with a class index or a number each."""

    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None
    labels: Labels

    @property
    def truth(self) -> NDArray[Any]:
        """The labels."""
        return self.labels

    def take(self, rows: Sequence[int]) -> "Texts":
        """Return some of the rows."""
        return Texts(
            texts=tuple(self.texts[row] for row in rows),
            pairs=None if self.pairs is None else tuple(self.pairs[row] for row in rows),
            labels=self.labels[list(rows)],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sentences:
    """Sentences of words, with the index of a tag for every word.

    ``entities`` counts those of each sentence.
    """

    words: tuple[tuple[str, ...], ...]
    tags: tuple[tuple[int, ...], ...]
    entities: tuple[int, ...]

    @property
    def truth(self) -> NDArray[Any]:
        """The numbers of words and of entities, shape ``(examples, 2)``."""
        return np.array([list(map(len, self.words)), self.entities]).T

    def take(self, rows: Sequence[int]) -> "Sentences":
        """Return some of the rows."""
        return Sentences(
            words=tuple(self.words[row] for row in rows),
            tags=tuple(self.tags[row] for row in rows),
            entities=tuple(self.entities[row] for row in rows),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Passages:
    """Texts to learn: as they stand, or each as the answer to the one before it."""

    texts: tuple[str, ...]
    answers: tuple[str, ...] | None

    @property
    def truth(self) -> NDArray[Any]:
        """Nothing but a row an example: what is scored is how likely the text itself is."""
        return np.zeros(len(self.texts))

    def take(self, rows: Sequence[int]) -> "Passages":
        """Return some of the rows."""
        return Passages(
            texts=tuple(self.texts[row] for row in rows),
            answers=None if self.answers is None else tuple(self.answers[row] for row in rows),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictures:
    """Images with a class index each."""

    images: tuple[Image, ...]
    labels: NDArray[np.int64]

    @property
    def truth(self) -> NDArray[Any]:
        """The labels."""
        return self.labels

    def take(self, rows: Sequence[int]) -> "Pictures":
        """Return some of the rows."""
        return Pictures(images=tuple(self.images[row] for row in rows), labels=self.labels[rows])


Part = Texts | Sentences | Passages | Pictures
