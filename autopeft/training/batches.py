"""Encoded examples and their batches, with as little padding as the order allows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autopeft.tasks.parts import Texts

# Length is sorted within this many batches: enough to save most padding, few enough to leave the
# order random.
_POOL = 32

PREDICTED_TOKENS = 4096
"""Tokens that go through the model at once where nothing is learned."""
PREDICTED_EXAMPLES = 256
"""Examples at most, however short they are."""

TaggedWord = tuple[int, int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Padded examples: ``inputs`` are what the backbone takes, ``rows`` where they come from.

    ``labels`` are what the loss is made of. ``words`` are, where those are scored, each one's tag
    and first token; None where it was cut off.
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    rows: NDArray[np.int64]
    words: tuple[tuple[TaggedWord, ...], ...] = ()


class Examples(Protocol):
    """A part of the data as a model takes it."""

    @property
    def truth(self) -> NDArray[Any]:
        """What predictions are held against, an example a row."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of every example: what a batch of it costs."""

    def __len__(self) -> int:
        """Count the examples."""

    def batch(self, rows: Sequence[int] | NDArray[np.int64]) -> Batch:
        """Return some of the examples, padded on the right to the longest of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Texts as token ids. ``types`` tells the two texts of a pair apart."""

    ids: tuple[tuple[int, ...], ...]
    types: tuple[tuple[int, ...], ...] | None
    labels: NDArray[Any]
    padding: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def truth(self) -> NDArray[Any]:
        """The labels."""
        return self.labels

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of every example."""
        return lengths_of(self.ids)

    def batch(self, rows: Sequence[int] | NDArray[np.int64]) -> Batch:
        """Return some of the examples, padded to the longest of them."""
        inputs = padded_inputs([self.ids[row] for row in rows], self.padding)
        if self.types is not None:
            inputs["token_type_ids"] = padded([self.types[row] for row in rows], 0)
        rows = np.asarray(rows)
        return Batch(inputs=inputs, labels=torch.from_numpy(self.labels[rows]), rows=rows)


def encode(tokenizer: Any, part: Texts, max_length: int) -> Encoded:
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
    examples: Examples, size: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of one epoch's batches: in random order, of similar length."""
    order, lengths = rng.permutation(len(examples)), examples.lengths
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(order), size * _POOL):
        pool = order[start : start + size * _POOL]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches.extend(pool[i : i + size] for i in range(0, len(pool), size))
    for index in rng.permutation(len(batches)):
        yield batches[index]


def ordered_batches(
    examples: Examples, most: int = PREDICTED_EXAMPLES, tokens: int = PREDICTED_TOKENS
) -> Iterator[Batch]:
    """Yield every example once, the shortest first, for prediction.

    A batch has at most ``most`` examples, and no more of them than ``tokens`` allow, padding
    included; but one at least.
    """
    lengths = examples.lengths
    order = np.argsort(lengths, kind="stable")
    begin = 0
    while begin < len(order):
        end = begin + _fitting(lengths[order[begin : begin + most]], tokens)
        yield examples.batch(order[begin:end])
        begin = end


def _fitting(rising: NDArray[np.int64], tokens: int) -> int:
    """Count how many sequences of rising length fit, each padded to the longest of them."""
    padded_sizes = np.arange(1, len(rising) + 1) * rising
    return max(1, int(np.searchsorted(padded_sizes, tokens, side="right")))


def lengths_of(ids: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Return how many tokens each sequence has."""
    return np.array([len(tokens) for tokens in ids])


def padded_inputs(ids: Sequence[Sequence[int]], padding: int) -> dict[str, Tensor]:
    """Return token ids, padded on the right, and the mask that tells them from padding."""
    mask = padded([(1,) * len(tokens) for tokens in ids], 0)
    return {"input_ids": padded(ids, padding), "attention_mask": mask}


def padded(sequences: Sequence[Sequence[int]], filler: int) -> Tensor:
    """Return whole numbers as a tensor, filled up on the right to the longest of them."""
    width = max(map(len, sequences))
    filled = np.full((len(sequences), width), filler, dtype=np.int64)
    for row, values in enumerate(sequences):
        filled[row, : len(values)] = values
    return torch.from_numpy(filled)
