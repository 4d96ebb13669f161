"""The rows of labelled texts in all data files together, and the part that each belongs to."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autopeft.errors import DataError
from autopeft.study import Columns, TaskKind
from autopeft.tasks.labels import as_classes, as_numbers, check_not_constant, class_names
from autopeft.tasks.splits import (
    PartName,
    assign_parts,
    check_texts,
    part_named,
    quantile_bins,
)
from autopeft.tasks.table import Table, first_rows

Tables = Mapping[PartName, Table]
Targets = NDArray[np.int64] | NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """All rows of all files, in their order; every cell is filled.

    ``given`` is the part that the files say a row belongs to: train where they say nothing.
    """

    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None
    labels: tuple[str, ...]
    given: tuple[PartName, ...]

    @property
    def content(self) -> Sequence[Hashable]:
        """What a model sees of each row; rows of equal content must share a part."""
        return self.texts if self.pairs is None else list(zip(self.texts, self.pairs, strict=True))


def without_split(columns: Columns, tables: Tables, named: str | None) -> Columns:
    """Return the columns without a split where several files are the split already.

    Raises:
        DataError: A split column was named all the same.
    """
    if len(tables) == 1:
        return columns
    if named is not None:
        raise DataError(
            f"the split is given twice, by column {named!r} and by files of their own: "
            "leave one of them out"
        )
    return replace(columns, split=None)


def join_rows(tables: Tables, columns: Columns) -> Rows:
    """Return the rows of all files.

    Raises:
        DataError: A column is missing or a cell is empty, or a cell of the split names no part.
    """
    return Rows(
        texts=_joined(tables, columns.text),
        pairs=None if columns.pair is None else _joined(tables, columns.pair),
        labels=_joined(tables, label_of(columns)),
        given=given_parts(tables, columns),
    )


def label_of(columns: Columns) -> str:
    """Return the column of labels, which every kind of task has but that of plain text."""
    if columns.label is None:
        raise ValueError("a task that needs labels has found its column")
    return columns.label


def given_parts(tables: Tables, columns: Columns) -> tuple[PartName, ...]:
    """Return the part that the files say each row belongs to.

    Raises:
        DataError: A cell of the split column is empty or names no part, or none names train.
    """
    return tuple(part for name, table in tables.items() for part in _given(name, table, columns))


def label_names(rows: Rows, columns: Columns, kind: TaskKind) -> tuple[str, ...]:
    """Return the classes in the order of their indices; for regression, none.

    Raises:
        DataError: All labels are equal, or train lacks a class.
    """
    column = label_of(columns)
    if kind == "classification":
        return class_names(as_classes(rows.labels), rows.given, column)
    check_not_constant(rows.labels, column)
    return ()


def targets_of(rows: Rows, tables: Tables, columns: Columns, names: Sequence[str]) -> Targets:
    """Return class indices in the order of the names or, without names, the labels as numbers.

    Raises:
        DataError: There are no names, and a label is not a finite number.
    """
    if not names:
        return np.concatenate([as_numbers(table, label_of(columns)) for table in tables.values()])
    places = {name: place for place, name in enumerate(names)}
    return np.array([places[label] for label in as_classes(rows.labels)], dtype=np.int64)


def parts_of(
    rows: Rows, targets: Targets, names: Sequence[str], *, seed: int
) -> tuple[PartName, ...]:
    """Return the part of each row; what the files do not give is cut off train with the seed.

    Raises:
        DataError: There are too few rows, or a class has too few distinct texts, to cut train.
    """
    if names:
        strata = tuple(targets.tolist())
        owners = [f"class {names[target]!r}" for target in strata]
    else:
        strata = quantile_bins(targets, rows.content)
        owners = ["the data"] * len(strata)
    check_texts(rows.given, rows.content, owners)
    return assign_parts(rows.given, rows.content, strata, seed=seed)


def _joined(tables: Tables, column: str) -> tuple[str, ...]:
    return tuple(cell for table in tables.values() for cell in table.filled(column))


def _given(name: PartName, table: Table, columns: Columns) -> list[PartName]:
    if columns.split is None:
        return [name] * table.rows
    words = table.filled(columns.split)
    parts = [part_named(word) for word in words]
    if unknown := [row for row, part in enumerate(parts, start=1) if part is None]:
        raise DataError(
            f"column {columns.split!r} of {table.path} names no part in {first_rows(unknown)}, "
            f"such as {words[unknown[0] - 1]!r}: write train, validation or test, or rename the "
            "column if it is not the split"
        )
    if "train" not in parts:
        raise DataError(
            f"column {columns.split!r} of {table.path} gives no row to train: "
            "write train in the rows to learn from"
        )
    return [part for part in parts if part is not None]
