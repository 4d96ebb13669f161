"""What a space cannot ask of a backbone: sizes out of range, slots that clash in any case."""

from collections.abc import Iterator, Mapping, Sequence

from autopeft.errors import SpaceError
from autopeft.search_spaces.checking import clashes
from autopeft.search_spaces.configuration import Slot
from autopeft.search_spaces.genes import CONTROLS, Gene
from autopeft.search_spaces.written.records import Group

Cell = tuple[int, int]


def must_be_possible(
    name: str, groups: Mapping[int, Group], slots: tuple[Slot, ...], genes: Sequence[Gene]
) -> None:
    """Refuse a space in which a written size can never be; ``groups`` are those of the columns.

    Raises:
        SpaceError: All sizes of a group are too large for a slot, or two slots that clash are tied
            to each other or can never be absent, or a slot always gives way to another.
    """
    sized = [gene for gene in genes if gene.role == "size"]
    clashing, never = _clashing(groups, slots, genes), _never(groups, slots, genes)
    for fault in (*_too_large(groups, slots, sized), *clashing, *never):
        raise SpaceError(f"space {name!r} ({fault}")


def _too_large(
    groups: Mapping[int, Group], slots: tuple[Slot, ...], sized: Sequence[Gene]
) -> Iterator[str]:
    """Name the groups of which no size fits; single sizes above a slot's largest count as that."""
    for gene in sized:
        columns = {column for _, column in gene.cells}
        group = groups[min(columns)]
        limits = [(most, c) for c in sorted(columns) if (most := slots[c].most) is not None]
        least = min((size for size in group.sizes or () if size), default=0)
        if limits and least > min(limits)[0]:
            most, column = min(limits)
            yield (
                f"{group.where}): its sizes above 0 begin at {least}, and "
                f"{slots[column].name} takes 0 to {most} here: add such sizes, or "
                "take another backbone"
            )


def _clashing(
    groups: Mapping[int, Group], slots: tuple[Slot, ...], genes: Sequence[Gene]
) -> Iterator[str]:
    tied = [set(gene.cells) for gene in genes if gene.role == "size"]
    always = _always(genes)
    for first, second in clashes(slots):
        if _gives_way(groups, slots, first, second):
            continue
        both = f"{slots[first].name} and {slots[second].name} cannot both be in a block"
        for block in range(*slots[first].blocks):
            cells = {(block, first), (block, second)}
            if any(cells <= one for one in tied):
                yield (
                    f"{groups[first].where}): {both}, as one takes what the other needs, and "
                    "the group ties them to each other: leave one of them out, or untie them"
                )
            elif cells <= always:
                yield (
                    f"{groups[first].where} and {groups[second].where}): {both}, as one takes "
                    "what the other needs, and neither can be absent: add the size 0 to "
                    f"{slots[first].name}, or put their groups into 'one_of'"
                )


def _always(genes: Sequence[Gene]) -> set[Cell]:
    """Find the cells that no gene makes absent."""
    absent = {cell for gene in genes if gene.role in CONTROLS for cell in gene.cells}
    sized = (gene for gene in genes if gene.role == "size" and gene.choices[0])
    return {cell for gene in sized for cell in gene.cells} - absent


def _never(
    groups: Mapping[int, Group], slots: tuple[Slot, ...], genes: Sequence[Gene]
) -> Iterator[str]:
    """Name the slots that are spelled out and in every block give way to one that stays."""
    settable = {cell for gene in genes if gene.role == "size" for cell in gene.cells}
    staying, loses = _always(genes), dict[Cell, int]()
    for first, second in clashes(slots):  # in the order of the second, so of who gives way
        for block in range(*slots[second].blocks):
            earlier, later = (block, first), (block, second)
            if earlier not in settable or later not in settable or earlier in loses:
                continue
            staying.discard(later)
            if earlier in staying:
                loses.setdefault(later, first)
    for column, group in groups.items():
        cells = [cell for cell in settable if cell[1] == column]
        if cells and loses.keys() >= set(cells) and _spelled(group, slots[column]):
            winner = loses[min(cells)]
            yield (
                f"{groups[winner].where} and {group.where}): {slots[column].name} can never be "
                f"there, as {slots[winner].name} in the same block takes what it needs and cannot "
                f"be absent: add the size 0 to that one, or leave {slots[column].name} out"
            )


def _gives_way(
    groups: Mapping[int, Group], slots: tuple[Slot, ...], first: int, second: int
) -> bool:
    """Whether a slot was found by a pattern such as ``bitfit@*`` only, beside one that it meets."""
    if first not in groups or groups[first] is not groups.get(second):
        return False
    return not all(_spelled(groups[column], slots[column]) for column in (first, second))


def _spelled(group: Group, slot: Slot) -> bool:
    names = {slot.name, f"{slot.method}@{slot.place}"}
    return any(not names.isdisjoint(alternative) for alternative in group.slots)
