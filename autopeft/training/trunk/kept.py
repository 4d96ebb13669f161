"""What a backbone's lower blocks give for a task's data, kept on disk for all trials that need it.

When it pays: a trial whose lowest changed block is above the first reads every lower block's output
from disk instead of computing it. That costs one forward pass through them, once for all trials,
processes and studies with this backbone and data; it saves one in every epoch and every scoring. So
it is done wherever a recipe has two epochs or more, also for trials that stop before: others will
stop there too. It is left out for recipes of one epoch. A study in which just one trial goes by a
block loses at most that pass.

What decides is the recipe, the configuration and the bound, never what happens to be on disk: the
same study runs the same way whoever filled the cache. Only a disk that fails changes that, and then
by no more than rounding.
"""

import hashlib
import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import transformers
from torch import nn

from autopeft.backbone import Backbone
from autopeft.records import digest, to_json
from autopeft.study import Task
from autopeft.tasks.splits import PartName
from autopeft.training.batches import Batch, Examples
from autopeft.training.heads.model import TaskModel
from autopeft.training.memory import is_out_of_memory
from autopeft.training.model_files import first_line
from autopeft.training.trunk.above import AboveTrunk
from autopeft.training.trunk.filling import filled, looked_at
from autopeft.training.trunk.layout import Stream, UnsuitableError, streams_below
from autopeft.training.trunk.row_file import FORMAT, RowFile, written
from autopeft.training.trunk.shelf import Shelf
from autopeft.trial import Recipe

_FEWEST_EPOCHS = 2
_TRIED = 4  # examples on which it is tried whether the model gives the same
_SAME = 0.02
_MIB = 2**20
_MEANING = ("kind", "columns", "digest", "split_seed", "max_length", "examples")
_PARTS: tuple[PartName, ...] = ("train", "validation")


class KeptTrunk:
    """What the lower blocks make of the parts of a task's data.

    ``blocks`` are the modules of the rows.
    """

    def __init__(
        self,
        shelf: Shelf,
        backbone: Backbone,
        task: Task,
        blocks: Sequence[nn.Module],
        parts: Mapping[PartName, Examples],
    ) -> None:
        self._shelf = shelf
        self._backbone = backbone
        self._blocks = blocks
        self._parts = {name: parts[name] for name in _PARTS}
        meaning = to_json(task)
        self._data = {name: meaning[name] for name in _MEANING}

    def above(
        self, model: TaskModel, recipe: Recipe, lowest: int
    ) -> Generator[float, None, dict[PartName, TaskModel]]:
        """Return for each part the model that goes on from its lower blocks' outputs on disk.

        ``lowest`` is the first row that holds something. Where nothing is to be gained, or the
        model does not allow it, the model itself is returned. Yields 0 now and then while what is
        missing on disk is computed.
        """
        found: dict[PartName, TaskModel] = dict.fromkeys(_PARTS, model)
        if self._shelf.failed or not lowest or not _pays(recipe) or _by_chance(recipe):
            return found
        batch = self._tried()
        loss, seen = looked_at(model, batch, self._blocks, recipe)
        try:
            row = self._boundary(lowest, seen, batch)
            streams = streams_below(row, self._backbone.stacks, seen, batch)
            for name in _PARTS:
                files = yield from self._files(name, model, recipe, streams)
                found[name] = AboveTrunk(model, self._blocks, streams, files)
            _check_same(loss, _loss_of(found["train"], batch, recipe))
        except UnsuitableError as error:
            return self._without(model, str(error))
        except OSError as error:
            return self._without(model, self._shelf.fail(error))
        self._shelf.begun(row, len(self._blocks))
        return found

    def _boundary(self, lowest: int, seen: Sequence[list[Any]], batch: Batch) -> int:
        """Choose the row to go on from: the lowest changed one, or one below it.

        Where not all rows fit into the bound together, as many as do are kept, at equal distances.
        """
        streams = streams_below(lowest, self._backbone.stacks, seen, batch)
        lengths = [part.lengths for part in self._parts.values()]
        need = sum(stream.bytes(part) for stream in streams for part in lengths)
        rows = len(self._blocks)
        count = min(rows, self._shelf.limit // max(1, need))
        kept = [place * (rows + 1) // (count + 1) for place in range(1, count + 1)]
        if not (below := [row for row in kept if 0 < row <= lowest]):
            raise UnsuitableError(
                f"what one gives takes {need / _MIB:,.1f} MiB of the "
                f"{self._shelf.limit / _MIB:,.1f} MiB that the setting block_cache allows"
            )
        return below[-1]

    def _tried(self) -> Batch:
        """Return some examples from the shortest to the longest, so that there is padding."""
        train = self._parts["train"]
        order = np.argsort(train.lengths, kind="stable")
        places = np.linspace(0, len(order) - 1, min(_TRIED, len(order))).astype(np.int64)
        return train.batch(order[places])

    def _files(
        self, part: PartName, model: TaskModel, recipe: Recipe, streams: Sequence[Stream]
    ) -> Generator[float, None, list[RowFile]]:
        """Open what the streams are kept in, and fill it before if it is not there."""
        names = [self._name(part, stream, recipe) for stream in streams]
        if (files := self._found(names)) is None:
            lock = yield from self._shelf.locked()
            try:
                if (files := self._found(names)) is None:
                    yield from self._fill(part, model, recipe, streams, names)
                    files = self._found(names)
            finally:
                lock.release()
        if files is None:
            raise OSError("what was written there cannot be read again")
        return files

    def _fill(
        self,
        part: PartName,
        model: TaskModel,
        recipe: Recipe,
        streams: Sequence[Stream],
        names: Sequence[str],
    ) -> Iterator[float]:
        examples, shelf = self._parts[part], self._shelf
        shelf.make_room(sum(stream.bytes(examples.lengths) for stream in streams), keep=names)
        files = [shelf.file(name) for name in names]
        with written(files, names, len(examples)) as writings:
            for _ in filled(model, examples, self._blocks, streams, recipe, writings):
                yield 0.0

    def _found(self, names: Sequence[str]) -> list[RowFile] | None:
        found = [file for name in names if (file := self._shelf.find(name)) is not None]
        return found if len(found) == len(names) else None

    def _name(self, part: PartName, stream: Stream, recipe: Recipe) -> str:
        """Name a file by all that decides its content, rounding apart."""
        lengths = np.ascontiguousarray(self._parts[part].lengths, dtype=np.int64)
        return digest(
            {
                "format": FORMAT,
                "backbone": self._backbone.digest,
                "data": self._data,
                "part": part,
                "lengths": hashlib.sha256(lengths.tobytes()).hexdigest(),
                "row": stream.last,
                "precision": recipe.precision,
                "transformers": transformers.__version__,
            }
        )[:32]

    def _without(self, model: TaskModel, why: str) -> dict[PartName, TaskModel]:
        self._shelf.refused(why)
        return dict.fromkeys(_PARTS, model)


def _pays(recipe: Recipe) -> bool:
    return recipe.epochs >= _FEWEST_EPOCHS


def _by_chance(recipe: Recipe) -> bool:
    """Tell whether chance, or what stands in the place of padding, has a part in the result."""
    return recipe.dropout > 0 or recipe.gate_mean == "all"


def _loss_of(model: TaskModel, batch: Batch, recipe: Recipe) -> float:
    """Return the loss of a model on kept blocks; what a model makes of them may be anything."""
    try:
        return looked_at(model, batch, (), recipe)[0]
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise UnsuitableError(f"it fails on cached ones: {first_line(error)}") from error


def _check_same(loss: float, with_files: float) -> None:
    if not math.isclose(loss, with_files, rel_tol=_SAME, abs_tol=_SAME):
        raise UnsuitableError(f"from cached ones the loss is {with_files:.4g}, not {loss:.4g}")
