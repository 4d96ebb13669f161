"""One data file as columns of text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autopeft.errors import DataError

Cell = str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One data file, column by column.

    A cell is text without surrounding white space, or None where it is missing or empty.
    ``nested`` names the columns of lists or objects, which have no cells here. ``digest`` is the
    SHA-256 of the file's bytes.
    """

    path: str
    columns: Mapping[str, tuple[Cell, ...]]
    nested: tuple[str, ...] = ()
    digest: str

    def cells(self, name: str) -> tuple[Cell, ...]:
        """Return one column.

        Raises:
            DataError: There is no such column, or it holds lists or objects.
        """
        if name in self.nested:
            raise DataError(
                f"column {name!r} of {self.path} holds lists or objects: "
                "name a column of plain text or numbers"
            )
        if name not in self.columns:
            there = ", ".join(map(repr, self.columns))
            raise DataError(f"{self.path} has no column {name!r}: name one of {there}")
        return self.columns[name]

    def filled(self, name: str) -> tuple[str, ...]:
        """Return one column, in which every row must have a value.

        Raises:
            DataError: As in `cells`, or a cell is missing.
        """
        cells = self.cells(name)
        if missing := [number for number, cell in enumerate(cells, start=1) if cell is None]:
            raise DataError(
                f"column {name!r} of {self.path} is empty in {first_rows(missing)}: "
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
