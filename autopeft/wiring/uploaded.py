"""What is in a data set that somebody has uploaded, and where a study finds it.

What comes in is data and nothing else: text, JSON, Arrow's own types, images. No loader that is
used here unpickles or runs anything, and no cell leads to a file: images come inside of an archive
or of Parquet.
"""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopeft.errors import AutopeftError, DataError, OutputError
from autopeft.wiring.archives import ARCHIVES, BOUNDS, Bounds, is_archive, unpacked

if TYPE_CHECKING:
    from autopeft.tasks.table import Table

FORMATS = (".csv", ".tsv", ".jsonl", ".json", ".parquet", *ARCHIVES)
UNPACKED = "unpacked"
_MOST_ROWS = 20_000_000
_MOST_BYTES = 16 * 2**30
_BATCH = 512 * 2**20
_LISTED = 200
_LONGEST = 200


def place_of(file: Path) -> Path:
    """Return what a study reads of an upload: the file, or the folder it was unpacked into."""
    return file.with_name(UNPACKED) if is_archive(file.name) else file


def found_in(file: Path, bounds: Bounds = BOUNDS) -> dict[str, Any]:
    """Read an upload, unpacking an archive beside itself, and say what it holds.

    That is ``form`` (``table`` or ``images``), ``rows``, ``columns``, the guess of ``task`` with
    its ``text``, ``text_pair``, ``label`` and ``split``, the ``labels`` with how many ``examples``
    each has, and a ``note`` where the data leaves the task open. ``stored_images`` are columns with
    images inside, ``named_images`` those with no more than names of images.

    Raises:
        DataError: It cannot be used, or a table names images that did not come with it. The message
            names no path of this machine.
        OutputError: The disk is full, or cannot be read or written.
    """
    try:
        if is_archive(file.name):
            return _found_images(unpacked(file, place_of(file), bounds))
        _check_size(file)
        return _found_table(file)
    except DataError as error:
        raise DataError(_without(str(error), file.parent)) from None
    except OSError as error:
        raise OutputError(
            f"cannot read or unpack {file.name}: {error.strerror or error}; make room, or tell "
            "whoever runs the service"
        ) from None
    except (MemoryError, AutopeftError):
        raise
    except Exception as error:  # whatever a reader has not foreseen, the data is what is wrong
        raise DataError(
            f"cannot read {file.name} ({type(error).__name__}): repair the file or write it anew"
        ) from error


def must_come_along(found: dict[str, Any], kind: str | None, text: str | None) -> None:
    """Refuse a task that would take the cells of an upload for paths of images.

    Raises:
        DataError: The images did not come with the table.
    """
    if found.get("form") != "table":
        return
    stored, named = set(found.get("stored_images", ())), set(found.get("named_images", ()))
    if kind == "image":
        outside = bool({text} - stored) if text else not stored or bool(named)
    else:
        outside = kind is None and (text in named if text else bool(named) and not stored)
    if outside:
        raise DataError(
            "the data set names images that did not come with it: upload an archive with a folder "
            "a class, or Parquet with the images inside; or name another kind of task"
        )


def _found_images(folder: Path) -> dict[str, Any]:
    from autopeft.tasks.images import IMAGE, LABEL, SPLIT, check_images, images_of, read_folder

    table = read_folder(str(folder))
    check_images(images_of(table, IMAGE))
    split = {"split": SPLIT} if SPLIT in table.columns else {}
    return {
        "form": "images",
        "rows": table.rows,
        "columns": list(table.names),
        "task": "image",
        "text": IMAGE,
        "label": LABEL,
        **split,
        **_labels(table, LABEL),
    }


def _found_table(file: Path) -> dict[str, Any]:
    from autopeft.tasks.files import read_table
    from autopeft.tasks.images import check_images, shows_images

    table = read_table(str(file))
    for column, images in table.images.items():
        if any(image is not None and not image.content for image in images):
            raise DataError(
                f"column {column!r} of {file.name} names images that did not come with it: put "
                "the images into the file, or upload an archive with a folder a class"
            )
        check_images([image for image in images if image is not None])
    named = [name for name in table.columns if shows_images(table, name)]
    return {
        "form": "table",
        "rows": table.rows,
        "columns": [name[:_LONGEST] for name in table.names[:_LISTED]],
        "stored_images": sorted(table.images),
        "named_images": named,
        **_guess(table),
    }


def _guess(table: "Table") -> dict[str, Any]:
    """Say which task the data looks like; where it is not clear, what is to be said."""
    from autopeft.tasks.columns import find_columns
    from autopeft.tasks.conventions import conventional_columns
    from autopeft.tasks.kinds import is_of_images, other_kinds
    from autopeft.tasks.labels import kind_of

    others = other_kinds(table)
    nothing = {"text": None, "label": None, "pair": None, "split": None}
    try:
        if is_of_images(table, None, None) and table.images:
            columns, kind = conventional_columns("image", table, **nothing), "image"
        else:
            columns = find_columns(table, **nothing)
            kind = kind_of(table.filled(columns.label or ""), columns.label or "")
    except DataError as error:
        return {
            "task": None,
            "note": _without(str(error), Path(table.path).parent),
            "may_be": list(others),
        }
    named = {"text": columns.text, "text_pair": columns.pair, "label": columns.label}
    labels = _labels(table, columns.label) if columns.label and kind != "regression" else {}
    return {"task": kind, **named, "split": columns.split, **labels}


def _labels(table: "Table", column: str) -> dict[str, Any]:
    counted = Counter(cell for cell in table.columns[column] if cell is not None)
    most = counted.most_common(_LISTED)
    return {
        "labels": sorted(label[:_LONGEST] for label, _ in most),
        "examples": {label[:_LONGEST]: count for label, count in most},
        "more_labels": max(0, len(counted) - _LISTED),
    }


def _check_size(file: Path) -> None:
    """Refuse what would fill the memory when it is read, however small the file is."""
    rows = _parquet_rows(file) if file.suffix.lower() == ".parquet" else _lines(file)
    if rows > _MOST_ROWS:
        raise DataError(f"{file.name} has more than {_MOST_ROWS:,} rows: upload a part of them")


def _lines(file: Path) -> int:
    with file.open("rb") as stream:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(2**20), b""))


def _parquet_rows(file: Path) -> int:
    """Read once through the file in small batches: a few bytes may stand for gigabytes."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    try:
        with pq.ParquetFile(file) as table:
            facts = table.metadata
            # not what its columns say: where a column's statistics are torn, Arrow ends the process
            groups = range(facts.num_row_groups)
            sizes = [facts.row_group(index).total_byte_size for index in groups]
            if facts.num_rows > _MOST_ROWS or sum(sizes) > _MOST_BYTES:
                return _MOST_ROWS + 1
            # No value can be larger than the group that it is in.
            batch = min(10_000, max(1, _BATCH // max(1, *sizes, 1)))
            left = _MOST_BYTES
            for rows in table.iter_batches(batch_size=batch):
                left -= rows.nbytes
                if left < 0:
                    raise DataError(
                        f"{file.name} is refused: unpacked it has more than "
                        f"{_MOST_BYTES // 2**30} GiB; upload a part of it"
                    )
            return int(facts.num_rows)
    except (pa.ArrowException, OSError, ValueError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"cannot read {file.name}: {reason}; write it anew") from None


def _without(message: str, folder: Path) -> str:
    return message.replace(f"{folder}/{UNPACKED}/", "").replace(f"{folder}/", "")
