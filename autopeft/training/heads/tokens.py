"""Sentences of words with a tag each: a class for the first token of every word.

Axes: B batch, T tokens, D width, C tags.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from autopeft.errors import BackboneError
from autopeft.study import Task
from autopeft.tasks.entities import OUTSIDE, entities
from autopeft.tasks.parts import Sentences
from autopeft.training.batches import Batch, TaggedWord, lengths_of, padded, padded_inputs
from autopeft.training.heads.model import Judged, linear_head, scores_of

IGNORED = -100
"""The label of what is not scored: special tokens, padding, and all but a word's first token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedSentences:
    """Sentences as token ids.

    ``words`` are, for every word, its tag and its first token; None where it was cut off.
    """

    ids: tuple[tuple[int, ...], ...]
    words: tuple[tuple[TaggedWord, ...], ...]
    truth: NDArray[Any]
    padding: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of every sentence."""
        return lengths_of(self.ids)

    def labels(self, row: int) -> list[int]:
        """Return the tag of each word at its first token, and `IGNORED` elsewhere."""
        labels = [IGNORED] * len(self.ids[row])
        for tag, token in self.words[row]:
            if token is not None:
                labels[token] = tag
        return labels

    def batch(self, rows: Sequence[int] | NDArray[np.int64]) -> Batch:
        """Return some of the sentences, padded to the longest of them."""
        return Batch(
            inputs=padded_inputs([self.ids[row] for row in rows], self.padding),
            labels=padded([self.labels(row) for row in rows], IGNORED),
            rows=np.asarray(rows),
            words=tuple(self.words[row] for row in rows),
        )


def encode_sentences(tokenizer: Any, part: Sentences, max_length: int) -> EncodedSentences:
    """Tokenise words, cutting sentences to ``max_length`` tokens, or what the model can take.

    Words that are cut off, or of which the tokenizer leaves nothing, have no place: they are not
    learned from, and count as wrong and outside of every entity when predictions are scored.

    Raises:
        BackboneError: The tokenizer cannot tell which word a token belongs to.
    """
    if not tokenizer.is_fast:
        raise BackboneError(
            "tags of words need a tokenizer that knows which word a token belongs to: save the "
            "model with its tokenizer.json"
        )
    encoded = tokenizer(
        [list(words) for words in part.words],
        is_split_into_words=True,
        truncation=True,
        max_length=min(max_length, tokenizer.model_max_length),
        padding=False,
    )
    return EncodedSentences(
        ids=tuple(map(tuple, encoded["input_ids"])),
        words=tuple(_placed(tags, encoded.word_ids(row)) for row, tags in enumerate(part.tags)),
        truth=part.truth,
        padding=tokenizer.pad_token_id,
    )


def _placed(tags: Sequence[int], words: Sequence[int | None]) -> tuple[TaggedWord, ...]:
    first: dict[int, int] = {}
    for token, word in enumerate(words):
        if word is not None:
            first.setdefault(word, token)
    return tuple((tag, first.get(word)) for word, tag in enumerate(tags))


class TokenModel(nn.Module):
    """A backbone with a linear head on the first token of every word."""

    def __init__(self, backbone: Any, task: Task, generator: torch.Generator) -> None:
        super().__init__()
        self.backbone = backbone
        self.names = task.labels
        width = backbone.config.hidden_size
        self.weight, self.bias = linear_head(task.outputs, width, generator)

    def head(self) -> dict[str, nn.Parameter]:
        """Return what the head trains."""
        return {"weight": self.weight, "bias": self.bias}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the scores of every token, shape ``(B, T, C)``, in single precision."""
        hidden_BTD: Tensor = self.backbone(**inputs).last_hidden_state
        return scores_of(hidden_BTD, self.weight, self.bias)

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross entropy of the words in a batch."""
        return _loss(self(batch.inputs), batch.labels)

    def scored(self, batch: Batch) -> int:
        """Count the words of a batch."""
        return int((batch.labels != IGNORED).sum())

    def judge(self, batch: Batch) -> Judged:
        """Return, for every sentence, right words, right entities and predicted entities."""
        scores_BTC = self(batch.inputs)
        scored_BT = batch.labels != IGNORED
        best_BT = scores_BTC.argmax(-1).tolist()
        rows = [
            self._counts(best_T, words) for best_T, words in zip(best_BT, batch.words, strict=True)
        ]
        return Judged(
            predictions=torch.tensor(rows, dtype=torch.int32),
            loss=_loss(scores_BTC, batch.labels),
            weight=int(scored_BT.sum()),
            finite=bool(torch.isfinite(scores_BTC[scored_BT]).all()),
        )

    def _counts(self, best_T: list[int], words: Sequence[TaggedWord]) -> tuple[int, int, int]:
        right = sum(token is not None and best_T[token] == tag for tag, token in words)
        true = entities([self.names[tag] for tag, _ in words])
        predicted = entities(
            [OUTSIDE if token is None else self.names[best_T[token]] for _, token in words]
        )
        return right, len(true & predicted), len(predicted)


def _loss(scores_BTC: Tensor, labels_BT: Tensor) -> Tensor:
    scored = (labels_BT != IGNORED).sum().clamp(min=1)
    return cross_entropy(scores_BTC.flatten(0, 1), labels_BT.flatten(), reduction="sum") / scored
