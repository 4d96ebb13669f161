"""A table of sizes for another size of the same family of models, by relative depth and budget.

A cell goes to the blocks at its relative depth: of 12 blocks the third stands for the fifth and
sixth of 24. Sizes all grow by one factor, until as large a share of the new budget is used as was
of the old one. Where the budget is a share of the backbone, that is the ratio of the widths: a rank
costs parameters in proportion to the width, and a block in proportion to its square.
"""

from collections.abc import Iterator, Sequence

from autopeft.backbone import Backbone
from autopeft.errors import BudgetError, SpaceError
from autopeft.search_spaces.catalog import slots_of
from autopeft.search_spaces.checking import clashes, partners
from autopeft.search_spaces.configuration import Configuration, Slot

_HALVINGS = 50
Table = list[list[int]]


def transferred(
    configuration: Configuration,
    slots: Sequence[Slot],
    backbone: Backbone,
    to: Backbone,
    *,
    ceiling: int,
    to_ceiling: int,
) -> tuple[tuple[Slot, ...], Configuration]:
    """Map a table from one backbone to another; return the slots and the table there.

    Its number of parameters is never above ``to_ceiling``. Where even sizes of 1 are over it, the
    cells that were smallest are left out, the deepest of them first.

    Raises:
        SpaceError: The models are not of one family, or the other lacks a place that is used.
        BudgetError: No cell fits into the ceiling.
    """
    used = _used(configuration, slots)
    _must_be_kin(used, backbone, to)
    there = {slot.name: slot for slot in slots_of(to)}
    new = tuple(there[slot.name] for slot in slots if slot.name in there)
    table = _stretched(configuration, slots, new, to.blocks)
    aim = to_ceiling * configuration.parameters(slots) // max(1, ceiling)
    found = _grown(table, new, min(aim, to_ceiling))
    if _cost(found, new) > to_ceiling:
        found = _thinned(found, table, new, to_ceiling)
    return new, Configuration(tuple(map(tuple, found)))


def _used(configuration: Configuration, slots: Sequence[Slot]) -> list[Slot]:
    columns = {column for row in configuration.sizes for column, size in enumerate(row) if size}
    return [slots[column] for column in sorted(columns)]


def _must_be_kin(used: Sequence[Slot], backbone: Backbone, to: Backbone) -> None:
    stacks = [tuple(stack.name for stack in each.stacks) for each in (backbone, to)]
    if backbone.architecture != to.architecture or stacks[0] != stacks[1]:
        raise SpaceError(
            f"{to.name!r} is of the family {to.architecture!r}, and the plan is for "
            f"{backbone.name!r}, of the family {backbone.architecture!r}: what was found on one "
            "says nothing of the other; give a model of the same family, or search on this one"
        )
    there = {slot.name for slot in slots_of(to)}
    if absent := [slot for slot in used if slot.name not in there]:
        raise SpaceError(
            f"{to.name!r} has no {absent[0].site} for the plan's {absent[0].name}: its blocks are "
            "built in another way; give a model with the same places, or search on this one"
        )


def _stretched(
    configuration: Configuration, slots: Sequence[Slot], new: Sequence[Slot], blocks: int
) -> Table:
    """Put every column's sizes at their relative depth in the blocks that may hold it."""
    column_of = {slot.name: column for column, slot in enumerate(slots)}
    table = [[0] * len(new) for _ in range(blocks)]
    for column, slot in enumerate(new):
        before = column_of[slot.name]
        old_rows, rows = range(*slots[before].blocks), range(*slot.blocks)
        for old, row in _depths(old_rows, rows):
            table[row][column] = max(table[row][column], configuration.sizes[old][before])
    for sizes in table:
        _settle(sizes, new)
    return table


def _depths(old: range, new: range) -> Iterator[tuple[int, int]]:
    """Pair blocks by the depth of their middles, so that each one has a partner."""
    if len(new) < len(old):
        yield from ((one, other) for other, one in _depths(new, old))
        return
    for place, row in enumerate(new):
        yield old[(2 * place + 1) * len(old) // (2 * len(new))], row


def _grown(table: Table, slots: Sequence[Slot], aim: int) -> Table:
    """Multiply all sizes by the largest factor that keeps an aim; none of them falls below 1."""
    most = max(max(row) for row in table)
    low, high = 0.0, 1.0
    while _cost(_scaled(table, slots, high), slots) <= aim:
        low, high = high, 2 * high
        if high * most > 2 * aim:
            break  # whatever could still grow costs at least 1 per unit
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _cost(_scaled(table, slots, middle), slots) <= aim:
            low = middle
        else:
            high = middle
    return _scaled(table, slots, low)


def _scaled(table: Table, slots: Sequence[Slot], factor: float) -> Table:
    return [
        [
            min(max(1, int(size * factor)), slot.most or size * 2**62) if size else 0
            for slot, size in zip(slots, row, strict=True)
        ]
        for row in table
    ]


def _thinned(table: Table, sizes: Table, slots: Sequence[Slot], ceiling: int) -> Table:
    """Leave cells out until the ceiling is kept, those first that were smallest in ``sizes``."""
    table = [list(row) for row in table]
    for row, column in _least_first(sizes):
        if _cost(table, slots) <= ceiling:
            break
        table[row][column] = 0
        _settle(table[row], slots)
    if not any(map(any, table)):
        least = min(
            (slot.parameters(1) + slot.once, slot.name)
            for row in sizes
            for slot, size in zip(slots, row, strict=True)
            if size
        )
        raise BudgetError(
            f"no cell of the plan fits into {ceiling:,} parameters: the smallest, {least[1]} of "
            f"size 1, trains {least[0]:,}; give a larger --budget"
        )
    return table


def _least_first(sizes: Table) -> Iterator[tuple[int, int]]:
    cells = [
        (size, -row, column)
        for row, found in enumerate(sizes)
        for column, size in enumerate(found)
        if size
    ]
    for _, row, column in sorted(cells):
        yield -row, column


def _settle(row: list[int], slots: Sequence[Slot]) -> None:
    """Leave out what clashes with something in the same block, and what is nothing alone."""
    for earlier, later in clashes(tuple(slots)):
        if row[earlier]:
            row[later] = 0
    for column, needed in partners(tuple(slots)):
        if row[column] and not any(row[partner] for partner in needed):
            row[column] = 0


def _cost(table: Table, slots: Sequence[Slot]) -> int:
    return Configuration(tuple(map(tuple, table))).parameters(slots)
