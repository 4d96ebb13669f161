"""The table of sizes that a search decides on, and what it costs."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One method at one site: a column of a configuration.

    ``unit`` is the number of parameters per unit of size, ``fixed`` what is added once when the
    slot is present at all (an adapter's output bias).
    """

    method: str
    site: str
    unit: int
    fixed: int = 0

    @property
    def name(self) -> str:
        """The slot as people write it, such as ``lora@attention.query``."""
        return f"{self.method}@{self.site}"

    def parameters(self, size: int) -> int:
        """Count the trained parameters of one cell."""
        return self.unit * size + self.fixed if size else 0


@dataclass(frozen=True, slots=True)
class Configuration:
    """A table of sizes, blocks by slots. Zero means that nothing is there."""

    sizes: tuple[tuple[int, ...], ...]

    def parameters(self, slots: Sequence[Slot]) -> int:
        """Count what is trained, the task head excluded.

        Example:
            Rank 8 on query and value of 12 blocks of width 768: 12 · 2 · 8 · (768 + 768).

            >>> lora = [Slot(method="lora", site=site, unit=1536) for site in ("query", "value")]
            >>> Configuration(((8, 8),) * 12).parameters(lora)
            294912
        """
        return sum(
            slot.parameters(size)
            for row in self.sizes
            for slot, size in zip(slots, row, strict=True)
            if size
        )

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
