"""Labelled text: read, checked and described once, then loaded part by part."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from autopeft.errors import DataError
from autopeft.records import digest
from autopeft.study import Columns, DataFiles, Head, Metric, Task, TaskKind
from autopeft.tasks.columns import find_columns
from autopeft.tasks.files import read_table
from autopeft.tasks.labels import kind_of
from autopeft.tasks.metrics import metric_for
from autopeft.tasks.rows import (
    Tables,
    join_rows,
    label_names,
    parts_of,
    targets_of,
    without_split,
)
from autopeft.tasks.splits import PartName


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)  # arrays have no single equality
class Part:
    """The rows of one part, in the order of the files.

    ``labels`` are class indices in the order of the task's labels or, for regression, numbers.
    """

    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None
    labels: NDArray[np.int64] | NDArray[np.float64]


def read_task(
    files: DataFiles,
    *,
    text: str | None = None,
    label: str | None = None,
    pair: str | None = None,
    split: str | None = None,
    kind: TaskKind | None = None,
    metric: Metric | None = None,
    head: Head,
    max_length: int = 128,
    seed: int = 0,
) -> Task:
    """Read and check the data, and describe what is learned from it.

    Columns that are not named are found by their names or looks, the kind by the labels; the
    metric is accuracy for classification and spearman for regression. The parts come from the
    files, or from the split column of a single file; validation or test, where they are missing,
    are cut off train with the seed (see `assign_parts`).

    Raises:
        DataError: The data cannot be used; the message names file, column and rows.
        OptionError: The metric does not fit the kind of task.
    """
    tables = _read(files)
    columns = find_columns(tables["train"], text=text, label=label, pair=pair, split=split)
    columns = without_split(columns, tables, split)
    rows = join_rows(tables, columns)
    kind = kind or kind_of(rows.labels, columns.label)
    metric = metric_for(kind, metric)
    labels = label_names(rows, columns, kind)
    parts = parts_of(rows, targets_of(rows, tables, columns, labels), labels, seed=seed)
    return Task(
        kind=kind,
        metric=metric,
        columns=columns,
        labels=labels,
        head=head,
        max_length=max_length,
        digest=_digest(tables, columns, kind),
        split_seed=seed,
        examples=(parts.count("train"), parts.count("validation"), parts.count("test")),
    )


def load_parts(task: Task, files: DataFiles, names: Sequence[PartName]) -> dict[str, Part]:
    """Load the parts that are named, and no others, in the same order every time.

    Raises:
        DataError: The files cannot be read, or their content is not what the task was made from.
    """
    tables = _read(files)
    if _digest(tables, task.columns, task.kind) != task.digest:
        raise DataError(
            f"the data has changed since the study began "
            f"({', '.join(table.path for table in tables.values())}): "
            "bring the old files back, or begin a new study"
        )
    rows = join_rows(tables, task.columns)
    targets = targets_of(rows, tables, task.columns, task.labels)
    parts = parts_of(rows, targets, task.labels, seed=task.split_seed)
    loaded: dict[str, Part] = {}
    for name in names:
        chosen = [row for row, part in enumerate(parts) if part == name]
        loaded[name] = Part(
            texts=tuple(rows.texts[row] for row in chosen),
            pairs=None if rows.pairs is None else tuple(rows.pairs[row] for row in chosen),
            labels=targets[chosen],
        )
    return loaded


def _read(files: DataFiles) -> Tables:
    paths: dict[PartName, str | None] = {
        "train": files.train,
        "validation": files.validation,
        "test": files.test,
    }
    return {part: read_table(path) for part, path in paths.items() if path is not None}


def _digest(tables: Tables, columns: Columns, kind: TaskKind) -> str:
    content = {part: table.digest for part, table in tables.items()}
    return digest({"files": content, "columns": asdict(columns), "kind": kind})
