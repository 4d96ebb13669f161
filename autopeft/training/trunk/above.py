"""A model that goes on from the lower blocks' outputs on disk."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn

from autopeft.training.batches import Batch
from autopeft.training.heads.model import Judged, TaskModel
from autopeft.training.trunk.layout import Stream, standing_for
from autopeft.training.trunk.row_file import RowFile


class AboveTrunk(nn.Module):
    """A model whose lower blocks are read from disk; its batches are those of one part."""

    def __init__(
        self,
        model: TaskModel,
        blocks: Sequence[nn.Module],
        streams: Sequence[Stream],
        files: Sequence[RowFile],
    ) -> None:
        super().__init__()
        self.model = model
        self._below = blocks, streams, files

    @contextmanager
    def resting(self, batch: Batch) -> Iterator[None]:
        """Let what is on disk stand in for the lower blocks for the time of a ``with`` block."""
        blocks, streams, files = self._below
        with ExitStack() as undo:
            for stream, file in zip(streams, files, strict=True):
                state_BTD = file.batch(batch.rows, stream.width(batch))
                undo.enter_context(standing_for(stream, blocks, state_BTD))
            yield

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean loss of a batch, to learn from."""
        with self.resting(batch):
            return self.model.loss(batch)

    def scored(self, batch: Batch) -> int:
        """Count what the mean loss of a batch is over."""
        return self.model.scored(batch)

    def judge(self, batch: Batch) -> Judged:
        """Return predictions and loss of a batch."""
        with self.resting(batch):
            return self.model.judge(batch)

    def head(self) -> dict[str, nn.Parameter]:
        """Return by name what is trained besides the methods."""
        return self.model.head()
