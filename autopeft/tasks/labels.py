"""What the labels are: classes or numbers."""

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autopeft.errors import DataError
from autopeft.study import TaskKind
from autopeft.tasks.splits import PartName
from autopeft.tasks.table import Table, first_rows, number

_FEW = 20
_SHARE = 0.05
_IGNORED = "-100"  # what trainers and loss functions pass over


def kind_of(labels: Sequence[str], column: str) -> TaskKind:
    """Tell classification from regression.

    Numbers with decimals are regression; words, and whole numbers of which few are distinct, are
    classes: up to 20, or up to 5% of the rows.

    Raises:
        DataError: There are many distinct labels, mostly numbers, and they could be either.
    """
    distinct = set(labels)
    numbers = [value for text in distinct if (value := number(text)) is not None]
    if len(numbers) == len(distinct) and not all(map(_is_whole, numbers)):
        return "regression"
    many = len(distinct) > _FEW and len(distinct) > _SHARE * len(labels)
    if many and len(numbers) > len(distinct) / 2:
        raise DataError(
            f"label column {column!r} holds {len(distinct)} distinct values, mostly numbers, which "
            "could be classes or measurements: say --task classification or --task regression"
        )
    return "classification"


def as_classes(labels: Sequence[str]) -> tuple[str, ...]:
    """Return labels as the names of classes: where all are whole numbers, ``1.0`` is ``1``."""
    if not all(_is_whole(number(text)) for text in set(labels)):
        return tuple(labels)
    return tuple(re.sub(r"(?<=\d)\.0*$", "", text) for text in labels)


def class_names(classes: Sequence[str], given: Sequence[PartName], column: str) -> tuple[str, ...]:
    """Return the classes in the order of their indices: by value if all are numbers, else by name.

    Raises:
        DataError: There is one class only, or one that stands for no label, or validation or test
            have one that train has not.
    """
    if _IGNORED in classes:
        raise DataError(
            f"column {column!r} has the label {_IGNORED} in {classes.count(_IGNORED)} of "
            f"{len(classes)} rows, which stands for no label: remove those rows, or call the class "
            "something else"
        )
    train = {name for name, part in zip(classes, given, strict=True) if part == "train"}
    if unseen := sorted(set(classes) - train):
        raise DataError(
            f"no row of train has the label {', '.join(map(repr, unseen))} that validation or test "
            f"have in column {column!r}: add such rows to train, or remove those rows"
        )
    check_not_constant(classes, column)
    values = {name: number(name) for name in train}
    if not all(map(_is_finite, values.values())):
        return tuple(sorted(train))
    return tuple(sorted(train, key=lambda name: (values[name], name)))


def as_numbers(table: Table, column: str) -> NDArray[np.float64]:
    """Return a column of labels as numbers.

    Raises:
        DataError: A label is missing or is not a finite number.
    """
    values = [number(text) for text in table.filled(column)]
    if wrong := [row for row, value in enumerate(values, start=1) if not _is_finite(value)]:
        raise DataError(
            f"label column {column!r} of {table.path} has no finite number in {first_rows(wrong)}, "
            "as regression needs: correct or remove them, or say --task classification"
        )
    return np.array(values, dtype=np.float64)


def check_not_constant(labels: Sequence[str], column: str) -> None:
    """Refuse labels from which nothing can be learned.

    Raises:
        DataError: All labels are the same.
    """
    if len(set(labels)) == 1:
        raise DataError(
            f"all rows have the label {labels[0]!r} in column {column!r}: "
            "give at least two different labels"
        )


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _is_whole(value: float | None) -> bool:
    return value is not None and value.is_integer()
