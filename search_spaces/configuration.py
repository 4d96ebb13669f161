"""The table of sizes that a search decides on, and what it costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One method at one site: a column of a configuration.

    ``blocks`` are the first row that may hold it, and the row after the last. A cell of size s
    trains ``square`` · s² + ``unit`` · s + ``fixed`` parameters; ``once`` is added a single time
    when the column is not empty. ``most`` is the largest size, None where there is no limit.
    ``stack`` is the part of ``site`` that names the stack, empty where there is one.
    """

    method: str
    site: str
    blocks: tuple[int, int]
    unit: int
    fixed: int = 0
    square: int = 0
    once: int = 0
    most: int | None = None
    stack: str = ""

    @property
    def name(self) -> str:
        """The slot as people write it, such as ``lora@attention.query``."""
        return f"{self.method}@{self.site}"

    @property
    def place(self) -> str:
        """The site without its stack."""
        return self.site.removeprefix(f"{self.stack}.") if self.stack else self.site

    def parameters(self, size: int) -> int:
        """Count the trained parameters of one cell, without what is shared by the column."""
        return (self.square * size + self.unit) * size + self.fixed if size else 0

    def has(self, block: int) -> bool:
        """Tell whether a row may hold the slot."""
        return self.blocks[0] <= block < self.blocks[1]


@dataclass(frozen=True, slots=True)
class Configuration:
    """A table of sizes, blocks by slots. Zero means that nothing is there."""

    sizes: tuple[tuple[int, ...], ...]

    def parameters(self, slots: Sequence[Slot]) -> int:
        """Count what is trained, the task head excluded.

        Example:
            Rank 8 on query and value of 12 blocks of width 768: 12 · 2 · 8 · (768 + 768).

            >>> query, value = (
            ...     Slot(method="lora", site=site, blocks=(0, 12), unit=1536)
            ...     for site in ("query", "value")
            ... )
            >>> Configuration(((8, 8),) * 12).parameters([query, value])
            294912
        """
        total = sum(
            slot.once
            for column, slot in enumerate(slots)
            if slot.once and any(row[column] for row in self.sizes)
        )
        for row in self.sizes:
            cells = zip(slots, row, strict=True)
            for slot, size in compress(cells, row):  # of hundreds of slots few are there
                total += slot.parameters(size)
        return total

    def methods(self, slots: Sequence[Slot]) -> tuple[str, ...]:
        """Name the methods that are present, in the order of the slots."""
        present = {
            slot.method for row in self.sizes for slot, size in zip(slots, row, strict=True) if size
        }
        return tuple(dict.fromkeys(slot.method for slot in slots if slot.method in present))

    @property
    def empty(self) -> bool:
        """Whether nothing is trained but the task head."""
        return not any(any(row) for row in self.sizes)

    def summary(self, slots: Sequence[Slot]) -> str:
        """Say in a line what is where: ``lora@attention.query 8 in blocks 0-5``."""
        parts = []
        for column, slot in enumerate(slots):
            sizes = [row[column] for row in self.sizes]
            if not any(sizes):
                continue
            present = [block for block, size in enumerate(sizes) if size]
            distinct = sorted({sizes[block] for block in present})
            size = str(distinct[0]) if len(distinct) == 1 else f"{distinct[0]}-{distinct[-1]}"
            where = "" if len(present) == len(sizes) else f" in {_ranges(present)}"
            parts.append(f"{slot.name} {size}{where}")
        return "; ".join(parts) or "nothing but the task head"


def _ranges(numbers: Sequence[int]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    text = ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return f"block {text}" if len(numbers) == 1 else f"blocks {text}"
