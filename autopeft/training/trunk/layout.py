"""What a model's blocks take and return, and how recorded vectors stand in for the lower ones.

Most blocks return the vectors of all tokens, ``(B, T, D)``. Some return a tuple that begins with
them; what follows may depend on the lengths, as T5's biases of positions, but not on the texts.

Axes: B batch, T tokens, D width.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autopeft.backbone import Stack
from autopeft.training.batches import Batch
from autopeft.training.heads.tokens import IGNORED
from autopeft.training.trunk.standing import standing_in

Side = Literal["inputs", "labels", "all"]
"""By what it is known how many tokens an example has: its mask, its labels; or all have as many."""

_DIMENSIONS = 3


class UnsuitableError(Exception):
    """Recorded vectors cannot stand in for the blocks of this model; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """What flows through one stack, up to a boundary.

    ``first`` is the row of the stack's first block, ``last`` that of the block whose output is
    kept. ``others`` tells of what the blocks return beside it whether that is a tensor; None where
    they return no tuple. ``vector`` are the bytes of a token, ``tokens`` is T of the batch seen.
    """

    first: int
    last: int
    side: Side
    others: tuple[bool, ...] | None
    vector: int
    tokens: int

    def lengths(self, batch: Batch) -> list[int]:
        """Count the tokens of each example, padding apart."""
        if self.side == "all":
            return [self.tokens] * len(batch.rows)
        if self.side == "inputs":
            counts: list[int] = batch.inputs["attention_mask"].sum(1).tolist()
            return counts
        places_T = torch.arange(1, batch.labels.shape[1] + 1)
        ends: list[int] = ((batch.labels != IGNORED) * places_T).amax(1).tolist()
        return ends

    def width(self, batch: Batch) -> int | None:
        """Return T of a batch; None where every example has as many."""
        return _width(self.side, batch)

    def bytes(self, lengths: NDArray[np.int64]) -> int:
        """Return the most that a part takes whose examples have at most these lengths."""
        tokens = self.tokens * len(lengths) if self.side == "all" else int(lengths.sum())
        return tokens * self.vector


def streams_below(
    row: int, stacks: Sequence[Stack], seen: Sequence[list[Any]], batch: Batch
) -> tuple[Stream, ...]:
    """Tell what must be kept to go on from a row.

    ``seen`` is what every block below has returned for a batch, once for every time it ran. Of
    CLIP only the tower that reads the data runs.

    Raises:
        UnsuitableError: Vectors alone cannot stand in for the blocks.
    """
    found = []
    for stack in stacks:
        end = min(row, stack.first + stack.blocks)
        runs = seen[stack.first : end]
        if not any(runs):
            continue
        if wrong := [n for n, outputs in enumerate(runs, stack.first) if len(outputs) != 1]:
            times = len(seen[wrong[0]])
            raise UnsuitableError(f"block {wrong[0]} runs {times} times in one pass, and not once")
        outputs = [outputs for (outputs,) in runs]
        others = {_others(output, number) for number, output in enumerate(outputs, stack.first)}
        if len(others) != 1:
            raise UnsuitableError("the blocks of a stack do not all return the same")
        state_BTD = _state(outputs[-1])
        found.append(
            Stream(
                first=stack.first,
                last=end - 1,
                side=_side(stack, state_BTD, batch),
                others=others.pop(),
                vector=state_BTD.shape[2] * state_BTD.dtype.itemsize,
                tokens=state_BTD.shape[1],
            )
        )
    if not found:
        raise UnsuitableError("none of the blocks below runs")
    return tuple(found)


def _side(stack: Stack, state_BTD: Tensor, batch: Batch) -> Side:
    decodes = stack.first > 0 and batch.labels.dim() > 1
    side: Side = "labels" if decodes else "inputs"
    if "attention_mask" not in batch.inputs:
        side = "all"
    expected = (len(batch.rows), _width(side, batch) or state_BTD.shape[1])
    if state_BTD.shape[:2] != expected:
        raise UnsuitableError(
            f"its blocks return {tuple(state_BTD.shape)} for a batch of {expected} tokens"
        )
    return side


def _width(side: Side, batch: Batch) -> int | None:
    if side == "all":
        return None
    return (batch.inputs["attention_mask"] if side == "inputs" else batch.labels).shape[1]


def _state(output: Any) -> Tensor:
    state: Tensor = output if isinstance(output, Tensor) else output[0]
    return state


def _others(output: Any, number: int) -> tuple[bool, ...] | None:
    """Tell which of the things beside the vectors are tensors.

    These must be one for all examples: what has two or more of them must not have their number.
    """
    if not isinstance(output, (Tensor, tuple)) or not _is_state(_state(output)):
        raise UnsuitableError(f"block {number} does not return the vectors of all tokens")
    if isinstance(output, Tensor):
        return None
    for other in output[1:]:
        same = isinstance(other, Tensor) and len(other) == 1 < len(output[0])
        if other is not None and not same:
            raise UnsuitableError(f"block {number} returns more than the vectors of all tokens")
    return tuple(other is not None for other in output[1:])


def _is_state(state: object) -> bool:
    return isinstance(state, Tensor) and state.dim() == _DIMENSIONS and state.is_floating_point()


@contextmanager
def standing_for(stream: Stream, blocks: Sequence[nn.Module], state_BTD: Tensor) -> Iterator[None]:
    """Let vectors stand in for the blocks of a stream for the time of a ``with`` block.

    What the blocks return beside them is got by running the first of them on one example.
    """
    others: list[Any] = []

    def returned(*args: Any, **kwargs: Any) -> Any:
        if stream.others is None:
            return state_BTD
        if not others:
            others.extend(_beside(stream.others, own, args, kwargs))
        return (state_BTD, *others)

    own = blocks[stream.first].forward
    with ExitStack() as undo:
        for row in range(stream.first, stream.last + 1):
            undo.enter_context(standing_in(blocks[row], returned))
        yield


def _beside(
    expected: Sequence[bool], own: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[Any]:
    if not any(expected):
        return [None] * len(expected)
    count = len(args[0] if args else kwargs["hidden_states"])
    with torch.no_grad():
        output = own(
            *(_of_one(value, count) for value in args),
            **{name: _of_one(value, count) for name, value in kwargs.items()},
        )
    return list(output[1:])


def _of_one(value: Any, count: int) -> Any:
    """Return what one example of a batch is given; no memory of earlier tokens."""
    if isinstance(value, Tensor):
        whole = value.dim() >= _DIMENSIONS and len(value) == count
        return value[:1] if whole else value
    return value if isinstance(value, (bool, int, float, str, tuple, list)) else None
