"""Layer groups, and sizes that follow from a budget (Chen et al. 2023, S4, arXiv 2301.01821).

The blocks of every stack are divided into consecutive groups; a pattern says how many blocks each
group has. An allocation says how the budget is shared out over the blocks. Inside a block what is
switched on or off is paid first, and what has a size shares the rest equally, rounded down.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from autopeft.backbone import Backbone
from autopeft.search_spaces.configuration import Slot

Pattern = Literal["increasing", "uniform", "decreasing", "spindle", "bottleneck"]
Allocation = Literal["increasing", "uniform", "decreasing"]
PATTERNS: dict[Pattern, Callable[[int, int], int]] = {
    "increasing": lambda group, _: group + 1,
    "uniform": lambda _group, _count: 1,
    "decreasing": lambda group, count: count - group,
    "spindle": lambda group, count: 1 if group in {0, count - 1} else 2,
    "bottleneck": lambda group, count: 2 if group in {0, count - 1} else 1,
}
"""How many blocks a group has, relative to the others: of which group, out of how many."""
ALLOCATIONS: dict[Allocation, Callable[[int, int], int]] = {
    "increasing": lambda group, _: group + 1,
    "uniform": lambda _group, _count: 1,
    "decreasing": lambda group, count: count - group,
}
"""How much a block of a group may train, relative to one of another group."""


def group_sizes(pattern: Pattern, blocks: int, count: int) -> tuple[int, ...]:
    """Divide blocks into groups; what rounding leaves over goes to the largest remainders.

    No group is empty where there are blocks enough; the largest then gives one.

    Example:
        >>> group_sizes("spindle", 12, 4)
        (2, 4, 4, 2)
        >>> group_sizes("increasing", 12, 4)
        (1, 2, 4, 5)
    """
    weights = [PATTERNS[pattern](group, count) for group in range(count)]
    shares = [divmod(blocks * weight, sum(weights)) for weight in weights]
    left = blocks - sum(whole for whole, _ in shares)
    more = sorted(range(count), key=lambda group: -shares[group][1])[:left]
    sizes = [whole + (group in more) for group, (whole, _) in enumerate(shares)]
    while min(sizes) == 0 and max(sizes) > 1:
        sizes[sizes.index(max(sizes))] -= 1
        sizes[sizes.index(0)] += 1
    return tuple(sizes)


def groups_of_rows(pattern: Pattern, backbone: Backbone, count: int) -> tuple[int, ...]:
    """Name the group of every row; every stack is divided by itself."""
    return tuple(
        group
        for stack in backbone.stacks
        for group, size in enumerate(group_sizes(pattern, stack.blocks, count))
        for _ in range(size)
    )


@dataclass(frozen=True, slots=True)
class Unit:
    """Cells of one row that share one size."""

    row: int
    columns: tuple[int, ...]

    def cost(self, slots: Sequence[Slot], size: int) -> int:
        """Count what the cells train at a size."""
        return sum(slots[column].parameters(size) for column in self.columns)

    def most(self, slots: Sequence[Slot]) -> int | None:
        """Return the largest size that all cells can take; None where there is no limit."""
        limits = [most for c in self.columns if (most := slots[c].most) is not None]
        return min(limits, default=None)


def fill_rows(
    table: list[list[int]],
    units: Sequence[Unit],
    slots: Sequence[Slot],
    weights: Sequence[int],
    ceiling: int,
) -> None:
    """Set the size of every unit so that the whole table keeps the ceiling.

    ``table`` holds the sizes of all other cells, which are paid in any case: the ceiling is kept
    unless they alone are over it. A row gets the share of its weight among the rows that have
    units. Rows and units that cannot have size 1 are left out one by one, the one that is furthest
    from it first, so that the others do not pay for what is absent.
    """
    columns = {c for unit in units for c in unit.columns}
    columns |= {c for row in table for c, size in enumerate(row) if size}
    spend = ceiling - sum(slots[column].once for column in columns)
    filled = {unit.row for unit in units}
    spend -= sum(_paid(row, slots) for number, row in enumerate(table) if number not in filled)
    rows, spend = _affordable_rows(table, units, slots, weights, spend)
    total = sum(weights[row] for row in rows)
    for row, (own, paid) in rows.items():
        left = spend * weights[row] // total - paid
        for unit, size in _affordable(own, slots, left):
            for column in unit.columns:
                table[unit.row][column] = size


def _affordable_rows(
    table: list[list[int]],
    units: Sequence[Unit],
    slots: Sequence[Slot],
    weights: Sequence[int],
    spend: int,
) -> tuple[dict[int, tuple[list[Unit], int]], int]:
    """Return the rows that can have any unit at all, and what they may spend.

    Of each row: its units, and what its other cells cost, which a row that is left out pays too.
    """
    rows: dict[int, tuple[list[Unit], int]] = {}
    for unit in units:
        if unit.row not in rows:
            rows[unit.row] = ([], _paid(table[unit.row], slots))
        rows[unit.row][0].append(unit)
    least = {r: paid + min(u.cost(slots, 1) for u in own) for r, (own, paid) in rows.items()}
    for row in sorted(rows, key=lambda row: (-least[row] / weights[row], -row)):
        total = sum(weights[other] for other in rows)
        if spend * weights[row] // total >= least[row]:
            break  # the rows that are left are nearer to what they need
        spend -= rows.pop(row)[1]
    return rows, spend


def _paid(row: Sequence[int], slots: Sequence[Slot]) -> int:
    return sum(slots[column].parameters(size) for column, size in enumerate(row) if size)


def _affordable(units: list[Unit], slots: Sequence[Slot], left: int) -> list[tuple[Unit, int]]:
    """Share what a row may spend among its units."""
    sized = [unit for unit in units if unit.most(slots) != 1]
    found = []
    for unit in units:
        cost = unit.cost(slots, 1)
        if unit.most(slots) == 1 and cost <= left:
            found.append((unit, 1))
            left -= cost
    sized.sort(key=lambda unit: (unit.cost(slots, 1), unit.columns))
    while sized and sized[-1].cost(slots, 1) > left // len(sized):
        sized.pop()
    return found + [(unit, _largest(unit, slots, left // len(sized))) for unit in sized]


def _largest(unit: Unit, slots: Sequence[Slot], share: int) -> int:
    """Find the largest size of a unit that costs no more than a share, which allows size 1."""
    each = sum(slots[column].unit for column in unit.columns)
    low, high = 1, max(1, min(unit.most(slots) or share, share // each))
    while low < high:
        middle = (low + high + 1) // 2
        if unit.cost(slots, middle) <= share:
            low = middle
        else:
            high = middle - 1
    return low
