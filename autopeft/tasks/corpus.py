"""The data of a task, whole: its classes, its rows, and the part that each belongs to.

One function a form of data makes a corpus of tables; `reading` knows nothing more of kinds.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from autopeft.errors import DataError
from autopeft.study import Columns, TaskKind
from autopeft.tasks.entities import entities
from autopeft.tasks.images import digests_of, images_of
from autopeft.tasks.labels import as_classes, class_names, kind_of
from autopeft.tasks.parts import Part, Passages, Pictures, Sentences, Texts
from autopeft.tasks.rows import (
    Rows,
    Tables,
    given_parts,
    join_rows,
    label_names,
    label_of,
    parts_of,
    targets_of,
)
from autopeft.tasks.splits import PartName, assign_parts, check_texts
from autopeft.tasks.table import Table, first_rows, present

_IGNORED = "-100"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Corpus:
    """All rows of all files, in their order, and the part of each.

    ``labels`` are the classes or tags in the order of their indices.
    """

    kind: TaskKind
    labels: tuple[str, ...]
    rows: Part
    parts: tuple[PartName, ...]


def corpus_of(tables: Tables, columns: Columns, kind: TaskKind | None, *, seed: int) -> Corpus:
    """Read the rows, find the classes and assign the parts; without a kind the labels tell it.

    Raises:
        DataError: The data cannot be used; the message names file, column and rows.
    """
    if kind == "tokens":
        return _sentences(tables, columns, seed)
    if kind == "causal_lm" or kind == "seq2seq":  # noqa: PLR1714  # a set would not narrow the type
        return _passages(tables, columns, kind, seed)
    if kind == "image":
        return _pictures(tables, columns, seed)
    return _texts(tables, columns, kind, seed)


def _texts(tables: Tables, columns: Columns, kind: TaskKind | None, seed: int) -> Corpus:
    rows = join_rows(tables, columns)
    kind = kind or kind_of(rows.labels, label_of(columns))
    names = label_names(rows, columns, kind)
    targets = targets_of(rows, tables, columns, names)
    return Corpus(
        kind=kind,
        labels=names,
        rows=Texts(texts=rows.texts, pairs=rows.pairs, labels=targets),
        parts=parts_of(rows, targets, names, seed=seed),
    )


def _sentences(tables: Tables, columns: Columns, seed: int) -> Corpus:
    """Read words and tags; the parts are alike in the rarest tag of their sentences."""
    sentences = [row for table in tables.values() for row in _tagged(table, columns)]
    given = given_parts(tables, columns)
    tags = [tag for _, row in sentences for tag in row]
    # A tag that train lacks is no reason to refuse: long-tailed ones often are in few sentences.
    names = class_names(as_classes(tags), ["train"] * len(tags), label_of(columns))
    spelled = dict(zip(tags, as_classes(tags), strict=True))
    words = tuple(row for row, _ in sentences)
    indices = tuple(tuple(names.index(spelled[tag]) for tag in row) for _, row in sentences)
    frequency = Counter(tag for row in indices for tag in row)
    rarest = [min(row, key=lambda tag: (frequency[tag], tag)) for row in indices]
    return Corpus(
        kind="tokens",
        labels=names,
        rows=Sentences(
            words=words,
            tags=indices,
            entities=tuple(len(entities(row)) for _, row in sentences),
        ),
        parts=_assigned(given, words, rarest, seed=seed),
    )


def _tagged(table: Table, columns: Columns) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    words = _listed(table, columns.text)
    tags = _listed(table, label_of(columns))
    pairs = list(zip(words, tags, strict=True))
    if wrong := [row for row, (a, b) in enumerate(pairs, start=1) if len(a) != len(b)]:
        first = pairs[wrong[0] - 1]
        raise DataError(
            f"{table.path} does not have a tag for every word in {first_rows(wrong)}: "
            f"{len(first[0])} in column {columns.text!r}, {len(first[1])} in "
            f"{label_of(columns)!r}; correct or remove them"
        )
    if ignored := [row for row, (_, b) in enumerate(pairs, start=1) if _IGNORED in b]:
        raise DataError(
            f"column {label_of(columns)!r} of {table.path} has the tag {_IGNORED} in "
            f"{first_rows(ignored)}, which stands for no tag where texts are tokens already: give "
            "every word a tag of its own, such as O"
        )
    return pairs


def _listed(table: Table, column: str) -> tuple[tuple[str, ...], ...]:
    """Return the words or tags of a column: a list a row, or text with spaces between them."""
    table.check(column)
    if column not in table.lists:
        return tuple(tuple(cell.split()) for cell in table.filled(column))
    rows = present(table.lists[column], table.path, column)
    if missing := [number for number, row in enumerate(rows, start=1) if None in row]:
        raise DataError(
            f"column {column!r} of {table.path} has an empty word or tag in {first_rows(missing)}: "
            "fill in or remove what is empty"
        )
    return tuple(tuple(word for word in row if word is not None) for row in rows)


def _passages(tables: Tables, columns: Columns, kind: TaskKind, seed: int) -> Corpus:
    texts = _joined(tables, columns.text)
    given = given_parts(tables, columns)
    return Corpus(
        kind=kind,
        labels=(),
        rows=Passages(
            texts=texts, answers=_joined(tables, columns.label) if columns.label else None
        ),
        parts=_assigned(given, texts, [0] * len(texts), seed=seed),
    )


def _pictures(tables: Tables, columns: Columns, seed: int) -> Corpus:
    """Read images and classes; images of equal bytes share a part."""
    column = label_of(columns)
    images = tuple(image for table in tables.values() for image in images_of(table, columns.text))
    digests = digests_of(images)
    labels = _joined(tables, column)
    rows = Rows(texts=digests, pairs=None, labels=labels, given=given_parts(tables, columns))
    names = class_names(as_classes(labels), rows.given, column)
    targets = targets_of(rows, tables, columns, names)
    return Corpus(
        kind="image",
        labels=names,
        rows=Pictures(images=images, labels=targets.astype(np.int64)),
        parts=parts_of(rows, targets, names, seed=seed),
    )


def _joined(tables: Tables, column: str) -> tuple[str, ...]:
    return tuple(cell for table in tables.values() for cell in table.filled(column))


def _assigned(
    given: Sequence[PartName], content: Sequence[Hashable], strata: Sequence[int], *, seed: int
) -> tuple[PartName, ...]:
    check_texts(given, content, ["the data"] * len(content))
    return assign_parts(given, content, strata, seed=seed)
