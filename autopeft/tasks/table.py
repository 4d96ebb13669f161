"""One data file as columns of text, of lists of words, and of images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from autopeft.errors import DataError

Value = TypeVar("Value")
Cell = str | None
ListCell = tuple[Cell, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image as it is stored: the bytes of a file, or where the file is.

    ``name`` is what people are told of it: its path, or its file and row.
    """

    name: str
    content: bytes = field(default=b"", repr=False)

    def read(self) -> bytes:
        """Return the bytes.

        Raises:
            DataError: The file cannot be read.
        """
        if self.content:
            return self.content
        try:
            return Path(self.name).read_bytes()
        except OSError as error:
            raise DataError(
                f"cannot read the image {self.name}: {error.strerror}; check the path"
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One data file, column by column.

    A cell is text without surrounding white space, or None where it is missing or empty.
    ``nested`` names the columns of lists or objects, which have no cells; those among them that
    hold lists of plain values are in ``lists``, those that hold images in ``images``. ``digest``
    is the SHA-256 of the file's bytes.
    """

    path: str
    columns: Mapping[str, tuple[Cell, ...]]
    nested: tuple[str, ...] = ()
    lists: Mapping[str, tuple[ListCell, ...]] = field(default_factory=dict)
    images: Mapping[str, tuple[Image | None, ...]] = field(default_factory=dict)
    digest: str

    @property
    def rows(self) -> int:
        """Count the rows."""
        columns = (*self.columns.values(), *self.lists.values(), *self.images.values())
        return len(columns[0]) if columns else 0

    @property
    def names(self) -> tuple[str, ...]:
        """Name all columns."""
        return (*self.columns, *self.nested)

    def cells(self, name: str) -> tuple[Cell, ...]:
        """Return one column.

        Raises:
            DataError: There is no such column, or it holds lists or objects.
        """
        if name in self.nested:
            raise DataError(
                f"column {name!r} of {self.path} holds lists or objects: "
                "name a column of plain text or numbers; words with a tag each are for "
                "--task tokens, images for --task image"
            )
        self.check(name)
        return self.columns[name]

    def check(self, name: str) -> None:
        """Refuse a name that no column has.

        Raises:
            DataError: There is no such column, of whatever content.
        """
        if name not in self.names:
            there = ", ".join(map(repr, self.columns))
            raise DataError(f"{self.path} has no column {name!r}: name one of {there}")

    def filled(self, name: str) -> tuple[str, ...]:
        """Return one column, in which every row must have a value.

        Raises:
            DataError: As in `cells`, or a cell is missing.
        """
        return present(self.cells(name), self.path, name)


def present(cells: Sequence[Value | None], path: str, column: str) -> tuple[Value, ...]:
    """Return cells of which none may be missing.

    Raises:
        DataError: One is missing; the rows are named.
    """
    if missing := [number for number, cell in enumerate(cells, start=1) if cell is None]:
        raise DataError(
            f"column {column!r} of {path} is empty in {first_rows(missing)}: "
            "fill in or remove what is empty"
        )
    return tuple(cell for cell in cells if cell is not None)


def first_rows(numbers: Sequence[int]) -> str:
    """Say how many data rows there are and which come first; row 1 follows the header.

    Example:
        >>> first_rows([2, 3, 5, 8])
        '4 rows (the first: 2, 3, 5)'
    """
    if len(numbers) == 1:
        return f"row {numbers[0]}"
    return f"{len(numbers)} rows (the first: {', '.join(map(str, numbers[:3]))})"


def number(text: str) -> float | None:
    """Read a number as people write it in data files, or return None; ``nan`` is a number.

    Example:
        >>> number("-1.5e3"), number("1_000"), number("one")
        (-1500.0, None, None)
    """
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None
