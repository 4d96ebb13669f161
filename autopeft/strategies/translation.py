"""Configurations of one study in the space and on the backbone of another.

Slots are the same by name. Rows are the same by their relative depth in a stack. Sizes are scaled
by one factor, so that the same share of the budget is used as before: a rank means less on a wider
backbone, whose budget is larger too.
"""

from collections.abc import Callable
from math import exp, log

import numpy as np

from autopeft.backbone import Stack
from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.configuration import Configuration, Slot
from autopeft.search_spaces.sampling import Sampler
from autopeft.search_spaces.space import SearchSpace
from autopeft.study import Study

Table = list[list[int]]
Scale = Callable[[float], Configuration]

_STEPS = 40
_FARTHEST = log(256.0)
_SMALLER = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)


def translated(configuration: Configuration, origin: Study, goal: Study) -> Configuration | None:
    """Find what comes nearest to a configuration of one study in another; None where nothing does.

    Where the nearest sizes are over the budget, smaller ones are tried, and at last genes are
    lowered at random, the same each time.
    """
    table = _laid(configuration, origin, goal)
    if not any(map(any, table)):
        return None
    slots, space = goal.space.slots, goal.space
    share = configuration.parameters(origin.space.slots) / origin.ceiling

    def scale(factor: float) -> Configuration:
        return Configuration(tuple(tuple(map(_scaled(factor), slots, row)) for row in table))

    fitting = _factor(scale, slots, min(1.0, share) * goal.ceiling)
    for smaller in _SMALLER:
        found = _nearest(space, scale(fitting * smaller))
        if found and 0 < found.parameters(slots) <= goal.ceiling:
            return found
    return _lowered(scale(fitting), goal)


def shared_slots(origin: Study, goal: Study) -> bool:
    """Tell whether there is a slot that both spaces may use."""
    stacks = _counterparts(origin, goal)
    known = {(s.method, s.place, s.stack) for s in origin.space.slots}
    return any(
        (slot.method, slot.place, stacks[slot.stack].name) in known
        for column, slot in enumerate(goal.space.slots)
        if slot.stack in stacks and column in _columns(goal.space)
    )


def _laid(configuration: Configuration, origin: Study, goal: Study) -> Table:
    """Lay the sizes over the rows and columns of another study, unscaled."""
    stacks = _counterparts(origin, goal)
    columns = {(s.method, s.place, s.stack): c for c, s in enumerate(origin.space.slots)}
    used = _columns(goal.space)
    table = [[0] * len(goal.space.slots) for _ in range(goal.backbone.blocks)]
    for column, slot in enumerate(goal.space.slots):
        if column not in used or slot.stack not in stacks:
            continue
        known = columns.get((slot.method, slot.place, stacks[slot.stack].name))
        for row in range(*slot.blocks) if known is not None else ():
            own = goal.backbone.stack_of(row)
            table[row][column] = configuration.sizes[_same_depth(row, own, stacks[slot.stack])][
                known or 0
            ]
    return table


def _counterparts(origin: Study, goal: Study) -> dict[str, Stack]:
    """Name for each stack the one of the other backbone that it is like."""
    theirs, ours = origin.backbone.stacks, goal.backbone.stacks
    if len(theirs) == len(ours) == 1:
        return {ours[0].name: theirs[0]}
    by_name = {stack.name: stack for stack in theirs}
    return {stack.name: by_name[stack.name] for stack in ours if stack.name in by_name}


def _same_depth(row: int, own: Stack, other: Stack) -> int:
    depth = (row - own.first + 0.5) / own.blocks
    return other.first + int(depth * other.blocks)


def _columns(space: SearchSpace) -> set[int]:
    """Find the columns that the space may use; slots of baselines are there as well."""
    set_by_genes = {column for gene in space.genes for _, column in gene.cells}
    return set_by_genes | {follower.column for follower in space.followers}


def _scaled(factor: float) -> Callable[[Slot, int], int]:
    def size(slot: Slot, size: int) -> int:
        if not size or slot.most == 1 or METHODS[slot.method].size == "switch":
            return min(size, 1)
        scaled = max(1, round(size * factor))
        return scaled if slot.most is None else min(scaled, slot.most)

    return size


def _factor(scale: Scale, slots: tuple[Slot, ...], most: float) -> float:
    """Find the largest factor under which no more than so many parameters are trained."""
    low, high = -_FARTHEST, _FARTHEST
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if scale(exp(middle)).parameters(slots) <= most:
            low = middle
        else:
            high = middle
    return exp(low)


def _nearest(space: SearchSpace, configuration: Configuration) -> Configuration | None:
    genome = space.nearest(configuration)
    return None if genome is None else space.decode(genome)


def _lowered(configuration: Configuration, goal: Study) -> Configuration | None:
    genome = goal.space.nearest(configuration)
    if genome is None:
        return None
    shrunk = Sampler(goal.space, goal.ceiling).shrink(genome, np.random.default_rng(0))
    found = goal.space.decode(shrunk)
    return found if 0 < found.parameters(goal.space.slots) <= goal.ceiling else None
