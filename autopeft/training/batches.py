"""Texts to padded batches of token ids, with as little padding as the order allows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autopeft.tasks.reading import Part

# Length is sorted within this many batches: enough to save most padding, few enough to leave the
# order random.
_POOL = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A part of the data as token ids. ``types`` tells the two texts of a pair apart."""

    ids: tuple[tuple[int, ...], ...]
    types: tuple[tuple[int, ...], ...] | None
    labels: NDArray[Any]
    padding: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of every example."""
        return np.array([len(ids) for ids in self.ids])


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Padded examples: ``inputs`` are what the backbone takes, ``rows`` where they come from."""

    inputs: dict[str, Tensor]
    labels: Tensor
    rows: NDArray[np.int64]


def encode(tokenizer: Any, part: Part, max_length: int) -> Encoded:
    """Tokenise a part once, cutting texts to ``max_length`` tokens, or what the model can take."""
    texts = [list(part.texts)] if part.pairs is None else [list(part.texts), list(part.pairs)]
    max_length = min(max_length, tokenizer.model_max_length)
    encoded = tokenizer(*texts, truncation=True, max_length=max_length, padding=False)
    types = encoded.get("token_type_ids")
    return Encoded(
        ids=tuple(map(tuple, encoded["input_ids"])),
        types=tuple(map(tuple, types)) if types is not None else None,
        labels=part.labels,
        padding=tokenizer.pad_token_id,
    )


def training_batches(
    encoded: Encoded, size: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of one epoch's batches: in random order, of similar length."""
    order, lengths = rng.permutation(len(encoded)), encoded.lengths
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(order), size * _POOL):
        pool = order[start : start + size * _POOL]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches.extend(pool[i : i + size] for i in range(0, len(pool), size))
    for index in rng.permutation(len(batches)):
        yield batches[index]


def ordered_batches(encoded: Encoded, size: int) -> Iterator[Batch]:
    """Yield every example once, the shortest first."""
    order = np.argsort(encoded.lengths, kind="stable")
    for start in range(0, len(order), size):
        yield collate(encoded, order[start : start + size])


def collate(encoded: Encoded, rows: Sequence[int] | NDArray[np.int64]) -> Batch:
    """Pad the examples in ``rows`` to the longest of them."""
    width = max(len(encoded.ids[row]) for row in rows)
    ids = np.full((len(rows), width), encoded.padding, dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=np.int64)
    types = np.zeros((len(rows), width), dtype=np.int64)
    for i, row in enumerate(rows):
        tokens = encoded.ids[row]
        ids[i, : len(tokens)] = tokens
        mask[i, : len(tokens)] = 1
        if encoded.types is not None:
            types[i, : len(tokens)] = encoded.types[row]
    inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
    if encoded.types is not None:
        inputs["token_type_ids"] = torch.from_numpy(types)
    rows = np.asarray(rows)
    return Batch(inputs=inputs, labels=torch.from_numpy(encoded.labels[rows]), rows=rows)
