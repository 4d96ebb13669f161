"""How large each cell can be in any configuration of a space under a ceiling."""

from itertools import product

from autopeft.search_spaces.checking import clashes
from autopeft.search_spaces.configuration import Slot
from autopeft.search_spaces.genes import CONTROLS, simple
from autopeft.search_spaces.space import SearchSpace

Table = list[list[int]]


def largest_sizes(space: SearchSpace, ceiling: int) -> Table:
    """Return the largest size of every cell, as a table; 0 where nothing can be.

    Sizes that are given are taken from the genes, those over the ceiling by themselves left out.
    Sizes that follow from the ceiling are largest where nothing else is present; where cells can
    keep one another out, a size that uses up the ceiling alone is the bound.
    """
    table = [[0] * len(space.slots) for _ in range(space.blocks)]
    if _alone_is_largest(space):
        _raise_to_those_alone(table, space)
    for gene in space.genes:
        if gene.role != "size":
            continue
        for block, column in gene.cells:
            slot = space.slots[column]
            if gene.filled and table[block][column] == 0 and not _alone_is_largest(space):
                table[block][column] = largest_within(slot, space.ceiling or ceiling)
            elif not gene.filled:
                fitting = [s for s in gene.choices if _cost(slot, s) <= ceiling]
                table[block][column] = max([table[block][column], *fitting])
    for follower in space.followers:
        for row in table:
            row[follower.column] = int(any(row[leader] for leader in follower.leaders))
    return [
        [size if slot.has(block) else 0 for slot, size in zip(space.slots, row, strict=True)]
        for block, row in enumerate(table)
    ]


def largest_within(slot: Slot, ceiling: int) -> int:
    """Return the largest size of a cell that is within a ceiling by itself; 0 where none is."""
    low, high = 0, slot.most or max(1, ceiling // max(1, slot.unit))
    while low < high:
        middle = (low + high + 1) // 2
        if _cost(slot, middle) <= ceiling:
            low = middle
        else:
            high = middle - 1
    return low


def _cost(slot: Slot, size: int) -> int:
    return slot.parameters(size) + slot.once if size else 0


def _alone_is_largest(space: SearchSpace) -> bool:
    """Tell whether a filled size can only shrink when more is present."""
    filled = {cell for gene in space.genes if gene.filled for cell in gene.cells}
    controlled = {cell for gene in space.genes if gene.role in CONTROLS for cell in gene.cells}
    columns = {column for _, column in filled}
    rivals = {column for pair in clashes(space.slots) for column in pair}
    return not (filled & controlled or columns & rivals)


def _raise_to_those_alone(table: Table, space: SearchSpace) -> None:
    filled = [gene.filled for gene in space.genes]
    if not any(filled):
        return
    shares = [i for i, gene in enumerate(space.genes) if gene.role == "allocation"]
    choices = [range(len(space.genes[i].choices)) for i in shares]
    for genome in simple(space.genes, len(space.patterns)):
        for chosen in product(*choices):
            framed = list(genome)
            for place, choice in zip(shares, chosen, strict=True):
                framed[place] = choice
            for row, sizes in zip(table, space.decode(framed).sizes, strict=True):
                row[:] = map(max, row, sizes)
