"""The frozen blocks below all that a trial changes: run once a batch for all lanes of a pack.

A block below a trial's lowest row gives for the same batch what it gives without any method. The
first lane that runs it leaves its output, and the others take it from there. Lanes come to the same
batch in turn when they have the same order of data; a lane whose order is another one finds
nothing, and computes everything itself. Right only without dropout.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from autopeft.training.batches import Batch
from autopeft.training.heads.model import Judged, TaskModel
from autopeft.training.trunk.standing import bytes_of, standing_in

_SCORED_BYTES = 64 * 2**20


class Common:
    """What frozen blocks gave for the batches that lanes have just come to.

    Of the batches that are learned from, the latest ``orders`` are kept: so many orders of data
    there are among the lanes. Every lane is scored on the same batches from the first to the last,
    so of those the first are kept, as many as fit into ``scored_bytes``.
    """

    def __init__(self, orders: int = 1, scored_bytes: int = _SCORED_BYTES) -> None:
        self._orders = orders
        self._room = scored_bytes
        self._learned: OrderedDict[str, dict[tuple[int, int], Any]] = OrderedDict()
        self._scored: dict[str, dict[tuple[int, int], Any]] = {}

    def outputs(self, batch: Batch) -> dict[tuple[int, int], Any]:
        """Return what blocks gave for a batch so far, by their row and how often they had run."""
        name = _name(batch)
        if torch.is_inference_mode_enabled():
            return self._scored.setdefault(name, {})
        found = self._learned.setdefault(name, {})
        self._learned.move_to_end(name)
        while len(self._learned) > self._orders:
            self._learned.popitem(last=False)
        return found

    def keeps(self, output: Any) -> bool:
        """Tell whether an output is kept, and count it where it is."""
        if not torch.is_inference_mode_enabled():
            return True
        if (size := bytes_of(output)) > self._room:
            return False
        self._room -= size
        return True


class Together(nn.Module):
    """A model that takes from others what its untouched blocks give, and leaves it for them."""

    def __init__(self, model: TaskModel, blocks: Sequence[nn.Module], common: Common) -> None:
        super().__init__()
        self.model = model
        self._below = blocks, common

    @contextmanager
    def sharing(self, batch: Batch) -> Iterator[None]:
        """Let known outputs stand in for the blocks for the time of a ``with`` block."""
        blocks, common = self._below
        outputs = common.outputs(batch)
        runs = [0] * len(blocks)

        def given(row: int, own: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            place = row, runs[row]
            runs[row] += 1
            if place in outputs:
                return outputs[place]
            output = own(*args, **kwargs)
            if common.keeps(output):
                outputs[place] = output
            return output

        with ExitStack() as undo:
            for row, block in enumerate(blocks):
                undo.enter_context(standing_in(block, partial(given, row, block.forward)))
            yield

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean loss of a batch, to learn from."""
        with self.sharing(batch):
            return self.model.loss(batch)

    def scored(self, batch: Batch) -> int:
        """Count what the mean loss of a batch is over."""
        return self.model.scored(batch)

    def judge(self, batch: Batch) -> Judged:
        """Return predictions and loss of a batch."""
        with self.sharing(batch):
            return self.model.judge(batch)

    def head(self) -> dict[str, nn.Parameter]:
        """Return by name what is trained besides the methods."""
        return self.model.head()


def _name(batch: Batch) -> str:
    """Name a batch by what is in it, and by how it is computed with."""
    tensors = {**batch.inputs, "": batch.labels}
    found = hashlib.blake2b(digest_size=16)
    found.update(repr((torch.is_autocast_enabled("cpu"), torch.is_grad_enabled())).encode())
    for name, tensor in tensors.items():
        found.update(f"{name}{tuple(tensor.shape)}".encode())
        found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()
