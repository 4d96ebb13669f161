"""Data: read, checked and described once, then loaded part by part."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from autopeft.errors import DataError, OptionError
from autopeft.records import digest
from autopeft.study import Columns, DataFiles, Head, LossOn, Metric, Task, TaskKind
from autopeft.tasks.columns import find_columns
from autopeft.tasks.conventions import conventional_columns
from autopeft.tasks.corpus import Corpus, corpus_of
from autopeft.tasks.entities import has_entities
from autopeft.tasks.files import read_table
from autopeft.tasks.images import (
    check_images,
    digests_of,
    holds_images,
    images_of,
    read_folder,
)
from autopeft.tasks.kinds import is_of_images, other_kinds
from autopeft.tasks.metrics import metric_for
from autopeft.tasks.parts import Part, Pictures
from autopeft.tasks.rows import Tables, without_split
from autopeft.tasks.splits import PartName
from autopeft.tasks.table import Table

# The kinds that have no choice of a head, and what theirs is called.
_OWN_HEADS: dict[TaskKind, Head] = {"tokens": "tokens", "causal_lm": "lm", "seq2seq": "lm"}


def read_task(
    files: DataFiles,
    *,
    text: str | None = None,
    label: str | None = None,
    pair: str | None = None,
    split: str | None = None,
    kind: TaskKind | None = None,
    metric: Metric | None = None,
    head: Head | None = None,
    usual_head: Head = "mean",
    loss: LossOn = "completion",
    max_length: int = 128,
    seed: int = 0,
) -> Task:
    """Read and check the data, and describe what is learned from it.

    Columns that are not named are found by their names or looks. Without a kind the labels tell
    classification from regression, and images in a folder or table are what they look like. The
    metric is the kind's first unless one is named. The parts come from the files, or from the split
    column of a single file, or from folders of images; validation or test, where they are missing,
    are cut off train with the seed (see `assign_parts`). ``usual_head`` is taken where the kind
    leaves a choice and none is named.

    Raises:
        DataError: The data cannot be used; the message names file, column and rows.
        OptionError: Metric, head, loss or a second text do not fit the kind of task.
    """
    if kind is None and holds_images(files.train):
        kind = "image"
    tables = _read(files, kind)
    if kind is None and is_of_images(tables["train"], text, pair):
        kind = "image"
    named = {"text": text, "label": label, "pair": pair, "split": split}
    columns = without_split(_columns(tables["train"], kind, **named), tables, split)
    corpus = corpus_of(tables, columns, kind, seed=seed)
    if isinstance(corpus.rows, Pictures):
        check_images(corpus.rows.images)
    metric = metric_for(corpus.kind, metric)
    _check_fit(corpus, columns, metric, loss)
    parts = corpus.parts
    return Task(
        kind=corpus.kind,
        metric=metric,
        columns=columns,
        labels=corpus.labels,
        head=_head_for(corpus.kind, head, usual_head),
        max_length=max_length,
        digest=_digest(tables, columns, corpus.kind),
        split_seed=seed,
        examples=(parts.count("train"), parts.count("validation"), parts.count("test")),
        loss=loss,
    )


def load_parts(task: Task, files: DataFiles, names: Sequence[PartName]) -> dict[PartName, Part]:
    """Load the parts that are named, and no others, in the same order every time.

    Raises:
        DataError: The files cannot be read, or their content is not what the task was made from.
    """
    tables = _read(files, task.kind)
    if _digest(tables, task.columns, task.kind) != task.digest:
        raise DataError(
            f"the data has changed since the study began "
            f"({', '.join(table.path for table in tables.values())}): "
            "bring the old files back, or begin a new study"
        )
    corpus = corpus_of(tables, task.columns, task.kind, seed=task.split_seed)
    return {
        name: corpus.rows.take([row for row, part in enumerate(corpus.parts) if part == name])
        for name in names
    }


def _read(files: DataFiles, kind: TaskKind | None) -> Tables:
    paths: dict[PartName, str | None] = {
        "train": files.train,
        "validation": files.validation,
        "test": files.test,
    }
    return {part: _table(path, kind) for part, path in paths.items() if path is not None}


def _table(path: str, kind: TaskKind | None) -> Table:
    if kind == "image" and Path(path).expanduser().is_dir():
        return read_folder(path)
    return read_table(path)


def _columns(table: Table, kind: TaskKind | None, **named: str | None) -> Columns:
    if kind is not None and kind not in {"classification", "regression"}:
        return conventional_columns(kind, table, **named)
    try:
        return find_columns(table, **named)
    except DataError as error:
        if kind is not None or any(named.values()) or not (others := other_kinds(table)):
            raise
        raise DataError(
            f"{error}; or say --task {' or --task '.join(others)}, whose columns these look like"
        ) from None


def _head_for(kind: TaskKind, head: Head | None, usual: Head) -> Head:
    """Return the head if it fits the kind of task, or the kind's own if none is named."""
    own = _OWN_HEADS.get(kind)
    fitting = [own] if own else [name for name in get_args(Head) if name not in {"tokens", "lm"}]
    if head is None:
        return own or usual
    if head not in fitting:
        raise OptionError(f"head {head!r} does not fit {kind}: use {' or '.join(fitting)}")
    return head


def _check_fit(corpus: Corpus, columns: Columns, metric: Metric, loss: LossOn) -> None:
    if metric == "entity_f1" and not has_entities(corpus.labels):
        raise OptionError(
            f"metric 'entity_f1' needs tags such as B-PER and I-PER, but column "
            f"{columns.label!r} has {', '.join(map(repr, corpus.labels[:3]))}: use token_accuracy"
        )
    if metric == "exact_match" and columns.label is None:
        raise OptionError(
            "metric 'exact_match' needs a prompt and its completion: name them with --text and "
            "--label, or use log_likelihood"
        )
    if loss == "all" and (corpus.kind != "causal_lm" or columns.label is None):
        raise OptionError(
            "--loss all is for a prompt and its completion with --task causal_lm: leave it out"
        )


def _digest(tables: Tables, columns: Columns, kind: TaskKind) -> str:
    content = {part: table.digest for part, table in tables.items()}
    document: dict[str, Any] = {"files": content, "columns": asdict(columns), "kind": kind}
    if kind == "image":  # most of them lie outside of the tables' own files
        document["images"] = [
            name for table in tables.values() for name in digests_of(images_of(table, columns.text))
        ]
    return digest(document)
