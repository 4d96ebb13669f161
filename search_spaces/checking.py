"""What a table of sizes may not hold, whatever its budget."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import compress

from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.configuration import Configuration, Slot
from autopeft.search_spaces.within import parts


def faults(configuration: Configuration, slots: Sequence[Slot]) -> Iterator[str]:
    """Name what is wrong with a table.

    Sizes out of range, slots that cannot go together, and slots that are nothing alone.
    """
    rivals, needs = _rivals(tuple(slots))
    for block, row in enumerate(configuration.sizes):
        present = list(compress(range(len(slots)), row))
        for column in present:
            slot, size = slots[column], row[column]
            if not slot.has(block):
                yield f"block {block} has no {slot.site}, where {slot.name} is {size}"
            elif size < 0 or (slot.most is not None and size > slot.most):
                yield f"{slot.name} in block {block} is {size}, and may be 0 to {slot.most}"
        for second in present:
            for first in sorted(rivals[second].intersection(present)):
                yield (
                    f"{slots[first].name} and {slots[second].name} cannot both be in block "
                    f"{block}: {_why(slots[second])}"
                )
        for column in present:
            if column in needs and needs[column].isdisjoint(present):
                yield (
                    f"{slots[column].name} in block {block} has nothing to act on: put "
                    f"{_needed(slots[column])} there too, or leave it out"
                )


@lru_cache(maxsize=64)
def clashes(slots: tuple[Slot, ...]) -> tuple[tuple[int, int], ...]:
    """List the pairs of columns that no block can hold together."""
    return tuple((i, j) for j in range(len(slots)) for i in range(j) if _clash(slots[i], slots[j]))


@lru_cache(maxsize=64)
def partners(slots: tuple[Slot, ...]) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """List the columns that are nothing alone, each with those of which a block must hold one."""
    return tuple(
        (column, tuple(i for i, other in enumerate(slots) if _serves(other, slot)))
        for column, slot in enumerate(slots)
        if METHODS[slot.method].needs
    )


@lru_cache(maxsize=64)
def _rivals(
    slots: tuple[Slot, ...],
) -> tuple[tuple[frozenset[int], ...], dict[int, frozenset[int]]]:
    """List for every column the earlier ones that it clashes with, and what some need."""
    earlier: list[set[int]] = [set() for _ in slots]
    for first, second in clashes(slots):
        earlier[second].add(first)
    needs = {column: frozenset(allowed) for column, allowed in partners(slots)}
    return tuple(map(frozenset, earlier)), needs


def _why(slot: Slot) -> str:
    fronts = "front" in METHODS[slot.method].takes
    return "one prefix is enough" if fronts else "they change the same weights"


def _clash(one: Slot, other: Slot) -> bool:
    a, b = METHODS[one.method], METHODS[other.method]
    if not (a.takes & (b.takes | b.adds) or b.takes & a.adds):
        return False
    return one.stack == other.stack and not parts(one.place).isdisjoint(parts(other.place))


def _serves(other: Slot, slot: Slot) -> bool:
    return other.site == slot.site and f"{other.method}@{other.place}" in METHODS[slot.method].needs


def _needed(slot: Slot) -> str:
    names = sorted(need for need in METHODS[slot.method].needs if need.endswith(f"@{slot.place}"))
    return " or ".join(name.replace(slot.place, slot.site) for name in names)
