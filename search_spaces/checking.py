"""What a table of sizes may not hold, whatever its budget."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.configuration import Configuration, Slot


def faults(configuration: Configuration, slots: Sequence[Slot]) -> Iterator[str]:
    """Name what is wrong with a table: sizes out of range, and slots that cannot go together."""
    pairs = clashes(tuple(slots))
    for block, row in enumerate(configuration.sizes):
        for slot, size in zip(slots, row, strict=True):
            if not size:
                continue
            if not slot.has(block):
                yield f"block {block} has no {slot.site}, where {slot.name} is {size}"
            elif size < 0 or (slot.most is not None and size > slot.most):
                yield f"{slot.name} in block {block} is {size}, and may be 0 to {slot.most}"
        for first, second in pairs:
            if row[first] and row[second]:
                yield (
                    f"{slots[first].name} and {slots[second].name} cannot both be in block "
                    f"{block}: they change the same weights"
                )


@lru_cache(maxsize=64)
def clashes(slots: tuple[Slot, ...]) -> tuple[tuple[int, int], ...]:
    """List the pairs of columns that no block can hold together."""
    return tuple((i, j) for j in range(len(slots)) for i in range(j) if _clash(slots[i], slots[j]))


def _clash(one: Slot, other: Slot) -> bool:
    if one.stack != other.stack or not _overlap(one.place, other.place):
        return False
    a, b = METHODS[one.method], METHODS[other.method]
    return bool(a.takes & (b.takes | b.adds) or b.takes & a.adds)


def _overlap(one: str, other: str) -> bool:
    return one == other or "block" in {one, other}
