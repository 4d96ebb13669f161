"""Computes what the lower blocks make of a part of the data, always in the same way.

The part is passed through in batches of examples of like lengths, the shortest first, whatever
is trained on it later: so what is kept depends neither on who needed it first nor on the seed.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import torch
from torch import Tensor, nn

from autopeft.training.batches import Batch, Examples, ordered_batches
from autopeft.training.heads.model import TaskModel
from autopeft.training.loop import autocast
from autopeft.training.trunk.layout import Stream
from autopeft.training.trunk.row_file import Writing
from autopeft.training.trunk.standing import recorded
from autopeft.trial import Recipe

_BATCH = 64


class _EnoughError(Exception):
    """All blocks below the boundary have run."""


def filled(  # noqa: PLR0917  # what runs, on what, and where it goes
    model: TaskModel,
    part: Examples,
    blocks: Sequence[nn.Module],
    streams: Sequence[Stream],
    recipe: Recipe,
    writings: Sequence[Writing],
) -> Iterator[None]:
    """Write the vectors of every example, a file a stream, yielding after every batch."""
    model.eval()
    for batch in ordered_batches(part, _BATCH):
        for stream, writing, (output,) in zip(
            streams, writings, _passed(model, batch, blocks, streams, recipe), strict=True
        ):
            state_BTD = output if isinstance(output, Tensor) else output[0]
            for row, state_TD, count in zip(
                batch.rows.tolist(), state_BTD, stream.lengths(batch), strict=True
            ):
                writing.add(row, state_TD[:count])
        yield


def _passed(
    model: TaskModel,
    batch: Batch,
    blocks: Sequence[nn.Module],
    streams: Sequence[Stream],
    recipe: Recipe,
) -> list[list[Any]]:
    """Return what the last block of every stream gives for a batch; no block above them runs."""

    def enough(*_: Any) -> None:
        raise _EnoughError

    outputs: list[list[Any]] = [[] for _ in streams]
    with ExitStack() as undo, torch.inference_mode(), autocast(recipe):
        for stream, output in zip(streams, outputs, strict=True):
            undo.enter_context(recorded(blocks[stream.last], output))
        last = max(stream.last for stream in streams)
        hook = blocks[last].register_forward_hook(enough)
        undo.callback(hook.remove)
        with suppress(_EnoughError):
            model.judge(batch)
    return outputs


def looked_at(
    model: TaskModel, batch: Batch, blocks: Sequence[nn.Module], recipe: Recipe
) -> tuple[float, list[list[Any]]]:
    """Return the loss of a batch, and what every block returned on the way, each time it ran."""
    outputs: list[list[Any]] = [[] for _ in blocks]
    model.eval()
    with ExitStack() as undo, torch.inference_mode(), autocast(recipe):
        for block, output in zip(blocks, outputs, strict=True):
            undo.enter_context(recorded(block, output))
        return float(model.judge(batch).loss), outputs
