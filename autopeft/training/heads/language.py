"""Texts to go on with, and texts to answer with: the likelihood of tokens under a language model.

The model's own head turns vectors into tokens. It stays frozen, so nothing is trained but the
methods, and there are no head parameters.

Axes: B batch, T tokens, V vocabulary, N scored tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autopeft.errors import BackboneError, DataError
from autopeft.study import LossOn
from autopeft.tasks.parts import Passages
from autopeft.training.batches import Batch, lengths_of, padded, padded_inputs
from autopeft.training.heads.model import Judged
from autopeft.training.heads.tokens import IGNORED


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPassages:
    """Texts as token ids.

    ``targets`` are, for each, the ids to learn, or `IGNORED`: at the place of the token itself for
    a causal model, a sequence of their own for an encoder with a decoder.
    """

    ids: tuple[tuple[int, ...], ...]
    targets: tuple[tuple[int, ...], ...]
    padding: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def truth(self) -> NDArray[Any]:
        """Nothing but a row an example: what is scored is how likely the text itself is."""
        return np.zeros(len(self))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of every example, on the longer of its two sides."""
        return np.maximum(lengths_of(self.ids), lengths_of(self.targets))

    def batch(self, rows: Sequence[int] | NDArray[np.int64]) -> Batch:
        """Return some of the examples, padded to the longest of them; padding never counts."""
        return Batch(
            inputs=padded_inputs([self.ids[row] for row in rows], self.padding),
            labels=padded([self.targets[row] for row in rows], IGNORED),
            rows=np.asarray(rows),
        )


def encode_continuations(
    tokenizer: Any, part: Passages, max_length: int, loss: LossOn
) -> EncodedPassages:
    """Tokenise texts, or prompts and their completions, for a causal model.

    A text is taken as the tokenizer gives it, and cut at its end; all of it is learned but the
    first token, which nothing comes before. A completion stands after its prompt and a space, and
    ends with the tokenizer's end token, if it has one. Where both are too long together, the
    prompt loses its beginning; a completion is cut only where it is too long alone.

    Raises:
        BackboneError: The tokenizer cannot tell where a token comes from.
        DataError: No text has a second token to learn.
    """
    longest = min(max_length, tokenizer.model_max_length)
    if part.answers is None:
        found = tokenizer(list(part.texts), truncation=True, max_length=longest)["input_ids"]
        rows = [(tuple(ids), 1) for ids in found]
    else:
        pairs = zip(part.texts, part.answers, strict=True)
        rows = [_continued(tokenizer, *pair, longest) for pair in pairs]
    if loss == "all":
        rows = [(ids, 1) for ids, _ in rows]
    targets = tuple((IGNORED,) * start + ids[start:] for ids, start in rows)
    _check_targets(targets)
    return EncodedPassages(
        ids=tuple(ids for ids, _ in rows), targets=targets, padding=tokenizer.pad_token_id
    )


def _continued(
    tokenizer: Any, prompt: str, completion: str, longest: int
) -> tuple[tuple[int, ...], int]:
    """Return the ids of both, and where the completion begins."""
    if not tokenizer.is_fast:
        raise BackboneError(
            "prompts need a tokenizer that knows where a token comes from: save the model with "
            "its tokenizer.json"
        )
    encoded = tokenizer(
        f"{prompt} {completion}", return_offsets_mapping=True, return_special_tokens_mask=True
    )
    tokens = list(
        zip(
            encoded["input_ids"],
            (start >= len(prompt) for start, _ in encoded["offset_mapping"]),
            map(bool, encoded["special_tokens_mask"]),
            strict=True,
        )
    )
    places = [i for i, (_, answers, special) in enumerate(tokens) if answers and not special]
    begins = places[0] if places else len(tokens)
    given = [token for token, *_ in tokens[:begins]]
    answer = [token for token, _, special in tokens[begins:] if not special]
    if tokenizer.eos_token_id is not None:
        answer.append(tokenizer.eos_token_id)
    opening = sum(1 for *_, special in tokens[:1] if special)
    given, answer = _fitted(given, answer, opening, longest)
    return (*given, *answer), max(1, len(given))


def _fitted(
    given: list[int], answer: list[int], opening: int, longest: int
) -> tuple[list[int], list[int]]:
    """Cut the beginning of a prompt, all but its opening token, then the end of a completion."""
    opening = max(1, opening)
    room = max(opening, longest - len(answer))
    if len(given) > room:
        given = given[:opening] + given[len(given) - (room - opening) :]
    return given, answer[: longest - len(given)]


def encode_translations(tokenizer: Any, part: Passages, max_length: int) -> EncodedPassages:
    """Tokenise texts and their answers for an encoder with a decoder; both are cut at their end.

    Raises:
        DataError: No answer has a token to learn.
    """
    longest = min(max_length, tokenizer.model_max_length)
    answers = list(part.answers or ())
    sources = tokenizer(list(part.texts), truncation=True, max_length=longest)
    wanted = tokenizer(text_target=answers, truncation=True, max_length=longest)
    targets = tuple(map(tuple, wanted["input_ids"]))
    _check_targets(targets)
    return EncodedPassages(
        ids=tuple(map(tuple, sources["input_ids"])),
        targets=targets,
        padding=tokenizer.pad_token_id,
    )


def _check_targets(targets: Sequence[Sequence[int]]) -> None:
    if not any(token != IGNORED for row in targets for token in row):
        raise DataError(
            "no text has a token to learn: texts need two tokens or more, after tokenising"
        )


class LanguageModel(nn.Module):
    """A causal model, or an encoder with a decoder, with its own frozen head."""

    def __init__(self, whole: Any) -> None:
        super().__init__()
        self.whole = whole

    def head(self) -> dict[str, nn.Parameter]:
        """Return nothing: the head is the model's own and stays as it is."""
        return {}

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the scores of the tokens to learn, shape ``(N, V)``, and these tokens."""
        if self.whole.config.is_encoder_decoder:
            begun = self.whole.prepare_decoder_input_ids_from_labels(labels=batch.labels)
            logits_BTV = self.whole(**batch.inputs, decoder_input_ids=begun, use_cache=False).logits
            labels_BT = batch.labels
        else:
            logits_BTV = self.whole(**batch.inputs, use_cache=False).logits[:, :-1]
            labels_BT = batch.labels[:, 1:]
        scored_BT = labels_BT != IGNORED
        return logits_BTV[scored_BT].float(), labels_BT[scored_BT]

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean negative log-likelihood of a token."""
        likelihoods_N, _ = self._likelihoods(batch)
        return -likelihoods_N.sum() / max(1, len(likelihoods_N))

    def scored(self, batch: Batch) -> int:
        """Count the tokens of a batch that are to be foretold."""
        shared = self.whole.config.is_encoder_decoder
        return int(((batch.labels if shared else batch.labels[:, 1:]) != IGNORED).sum())

    def judge(self, batch: Batch) -> Judged:
        """Return each example's log-likelihood, its tokens, and whether all were the likeliest."""
        likelihoods_N, likeliest_N = self._likelihoods(batch)
        labels_BT = batch.labels if self.whole.config.is_encoder_decoder else batch.labels[:, 1:]
        example_N = (labels_BT != IGNORED).nonzero()[:, 0]
        sums = [
            torch.zeros(len(labels_BT), dtype=torch.float64).index_add(
                0, example_N, values.double()
            )
            for values in (likelihoods_N, torch.ones_like(likelihoods_N), likeliest_N)
        ]
        exact_B = (sums[1] == sums[2]) & (sums[1] > 0)
        return Judged(
            predictions=torch.stack([sums[0], sums[1], exact_B.double()], 1).float(),
            loss=-likelihoods_N.sum() / max(1, len(likelihoods_N)),
            weight=len(likelihoods_N),
            finite=bool(torch.isfinite(likelihoods_N).all()),
        )

    def _likelihoods(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return each token's log-likelihood, and whether it is the likeliest, shape ``(N,)``."""
        logits_NV, tokens_N = self(batch)
        with torch.autocast(logits_NV.device.type, enabled=False):
            chosen_N = logits_NV.gather(1, tokens_N[:, None])[:, 0]
            return chosen_N - logits_NV.logsumexp(-1), logits_NV.argmax(-1) == tokens_N
