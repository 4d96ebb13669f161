"""Data files to tables of text: the door through which every cell comes in."""

import codecs
import csv
import hashlib
import io
import json
import math
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autopeft.errors import DataError
from autopeft.tasks.images import is_stored_image, stored_images
from autopeft.tasks.table import Cell, ListCell, Table

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_JSON = (".jsonl", ".json")
MOST_COLUMNS = 5_000
_ALLOWED = "use .csv, .tsv, .jsonl (or .json with one object a line) or .parquet"


def read_table(path: str) -> Table:
    """Read a CSV, TSV, JSON lines or Parquet file; text such as ``NA`` or ``null`` stays text.

    CSV and TSV have a header and the quotes of CSV. Nothing is cached and no network is used: the
    same bytes always give the same table.

    Raises:
        DataError: The file is missing, unreadable, of an unknown format, broken or empty.
    """
    content = _content(path)
    suffix = Path(path).suffix.lower()
    if suffix in _SEPARATORS:
        values = _read_separated(path, content, _SEPARATORS[suffix])
    elif suffix in _JSON:
        values = _read_json(path, content)
    else:
        # With the default batch, one row group, the library stumbles over a file without rows.
        values = _load(path, content, "parquet", options={"batch_size": 10_000})
    if len(values) > MOST_COLUMNS:
        raise too_wide(path, len(values))
    nested = tuple(name for name, cells in values.items() if any(map(_is_nested, cells)))
    return Table(
        path=path,
        columns={
            name: tuple(map(_cell, cells)) for name, cells in values.items() if name not in nested
        },
        nested=nested,
        lists={name: _lists(values[name]) for name in nested if all(map(_is_flat, values[name]))},
        images={
            name: stored_images(path, values[name])
            for name in nested
            if all(map(is_stored_image, values[name]))
        },
        digest=hashlib.sha256(content).hexdigest(),
    )


def too_wide(path: str, columns: int) -> DataError:
    """Refuse a table with more columns than are read in a reasonable time."""
    return DataError(
        f"{path} has {columns:,} columns, and at most {MOST_COLUMNS:,} are read: leave some out"
    )


def _content(path: str) -> bytes:
    try:
        _check_path(path)
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror}; check the path and its permissions"
        ) from error
    if not content.removeprefix(codecs.BOM_UTF8).strip():
        raise DataError(f"{path} is empty: it needs rows with a text and a label")
    return content


def _check_path(path: str) -> None:
    suffix = Path(path).suffix.lower()
    if Path(path).is_dir():
        raise DataError(f"{path} is a directory: name the data file in it; {_ALLOWED}")
    if not Path(path).exists():
        raise DataError(f"there is no file {path}: check the path")
    if suffix not in {*_SEPARATORS, *_JSON, ".parquet"}:
        raise DataError(f"cannot tell the format of {path} from its ending {suffix!r}: {_ALLOWED}")


def _utf8(path: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path} is not UTF-8: line {line} holds the byte 0x{error.object[error.start]:02x}; "
            "save the file as UTF-8"
        ) from None


def _read_separated(path: str, content: bytes, separator: str) -> dict[str, list[Any]]:
    names = _header(path, _utf8(path, content), separator)
    # Text only, and no word stands for a missing value: someone may have written "NA".
    options = {"sep": separator, "names": names, "header": 0, "index_col": False}
    options |= {"na_filter": False, "encoding": "utf-8-sig"}
    return _load(path, content, "csv", texts=names, options=options)


def _header(path: str, text: str, separator: str) -> list[str]:
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        cells = next(line for line in lines if line)
    except csv.Error as error:
        raise DataError(f"cannot read the header of {path}: {error}; close its quotes") from None
    names = [cell.strip() or f"column {place}" for place, cell in enumerate(cells, start=1)]
    if len(names) > MOST_COLUMNS:
        raise too_wide(path, len(names))
    if twice := sorted(name for name, times in Counter(names).items() if times > 1):
        raise DataError(f"{path} has the column {twice[0]!r} twice: rename one of them")
    return names


def _read_json(path: str, content: bytes) -> dict[str, list[Any]]:
    text = _utf8(path, content)
    # One chunk, or the types of the first ten megabytes would be forced on the rest.
    options = {"parse_agent_traces": False, "chunksize": len(content) + 1}
    try:
        return _load(path, content, "json", options=options)
    except DataError:
        _blame_line(path, text)
        raise


def _blame_line(path: str, text: str) -> None:
    """Raise a DataError that names the first line which is no JSON object, if there is one."""
    if text.lstrip().startswith("["):  # a list of objects, which need not keep to lines
        return
    for place, line in enumerate(text.split("\n"), start=1):
        try:
            row = json.loads(line) if line.strip() else {}
        except RecursionError:
            raise DataError(
                f"line {place} of {path} is nested too deep: write one flat object a line"
            ) from None
        except json.JSONDecodeError as error:
            raise DataError(
                f"line {place} of {path} is not JSON ({error.msg}, column {error.colno}): "
                "write one object a line"
            ) from None
        if not isinstance(row, dict):
            raise DataError(
                f"line {place} of {path} is not an object: "
                'write one a line, such as {"text": "Great!", "label": "positive"}'
            )


def _load(
    path: str, content: bytes, form: str, *, texts: Sequence[str] = (), options: dict[str, Any]
) -> dict[str, list[Any]]:
    import datasets

    features = datasets.Features({name: datasets.Value("string") for name in texts}) or None
    with tempfile.TemporaryDirectory(prefix="autopeft-") as folder, _quiet():
        # Under a plain name: the library takes brackets and stars in a path for a pattern.
        copy = Path(folder, f"data.{form}")
        copy.write_bytes(content)
        read = getattr(datasets.Dataset, f"from_{form}")
        try:
            rows = read(
                str(copy), cache_dir=folder, keep_in_memory=True, features=features, **options
            )
            values, kinds = rows.to_dict(), rows.features  # which copies them at every look
        except Exception as error:  # each format's reader raises classes of its own
            raise DataError(_reason(path, error)) from error
    return {
        name: _class_names(cells, kinds[name])
        for name, cells in values.items()
        if not name.startswith("__index_level_")  # what pandas leaves in Parquet
    }


def _reason(path: str, error: Exception) -> str:
    if "corresponds to no data" in str(error):
        return f"{path} has no rows: add rows with a text and a label"
    reason = str(error.__cause__ or error).strip().removeprefix("Error tokenizing data. C error: ")
    if reason.startswith("Length of header"):
        reason = "its rows have more cells than its header"
    return f"cannot read {path}: {reason}; repair the file or write it anew"


def _class_names(cells: list[Any], feature: Any) -> list[Any]:
    """Put names for class indices where the file knows them; the index -1 means no label."""
    names: list[str] | None = getattr(getattr(feature, "feature", feature), "names", None)
    if names is None:
        return cells

    def named(cell: Any) -> Any:
        if isinstance(cell, list):
            return [named(value) for value in cell]
        return None if cell is None or cell < 0 else names[cell]

    return [named(cell) for cell in cells]


def _is_nested(value: Any) -> bool:
    return isinstance(value, (list, dict, bytes))


def _is_flat(value: Any) -> bool:
    return value is None or (isinstance(value, list) and not any(map(_is_nested, value)))


def _lists(values: list[Any]) -> tuple[ListCell, ...]:
    return tuple(tuple(map(_cell, value)) if value else None for value in values)


def _cell(value: Any) -> Cell:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).strip() or None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep progress bars, log lines and warnings of the library off the user's screen."""
    import datasets

    bars, level = not datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # pandas would drop cells and go on.
            warnings.filterwarnings("error", message="Length of header or names")
            yield
    finally:
        datasets.logging.set_verbosity(level)
        if bars:
            datasets.enable_progress_bars()
