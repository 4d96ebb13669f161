"""Genes: the free choices of a search space.

Most decide the size of one cell, or of all the cells that are tied to it. Others decide which
cells can be there at all: a *switch* turns its cells off, a *depth* those below it, a *last* those
above it, a *pick* all but one of several sets of columns. A *pattern* divides the blocks into layer
groups, and an *allocation* shares a budget out over them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Literal

from autopeft.search_spaces.configuration import Configuration

Role = Literal["size", "switch", "depth", "last", "pick", "pattern", "allocation"]
CONTROLS = frozenset({"switch", "depth", "last", "pick"})
"""The roles that turn cells off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gene:
    """One free choice over the cells (row, column) that are tied together.

    ``choices`` are ascending. For a size they are sizes, and a leading 0 allows absence; ``part``
    restricts the cells to one layer group, and ``filled`` makes 1 stand for what the budget allows.
    A switch that is 0 turns its cells off; a depth those from that row on; a last those before the
    row of which it is the negative; a pick those outside of ``keeps[choice]``, its columns. A
    pattern and an allocation choose among those of the space.
    """

    name: str
    choices: tuple[int, ...]
    cells: tuple[tuple[int, int], ...] = ()
    role: Role = "size"
    part: int | None = None
    filled: bool = False
    keeps: tuple[tuple[int, ...], ...] = ()

    def off(self, choice: int) -> Iterator[tuple[int, int]]:
        """Yield the cells that cannot be there under a choice."""
        value = self.choices[choice]
        for block, column in self.cells:
            if (
                (self.role == "switch" and not value)
                or (self.role == "depth" and block >= value)
                or (self.role == "last" and block < -value)
                or (self.role == "pick" and column not in self.keeps[choice])
            ):
                yield block, column


@dataclass(frozen=True, slots=True, kw_only=True)
class Follower:
    """A column that is on, at size 1, exactly where one of its leaders is on in the same row."""

    column: int
    leaders: tuple[int, ...]


def count(genes: Sequence[Gene]) -> int:
    """Count the genomes; those that differ in genes which a pick or a depth silences count once."""
    total, rest = 1, list(genes)
    for pick in (gene for gene in genes if gene.role == "pick"):
        rest.remove(pick)
        own = [
            gene for gene in rest if gene.role in {"size", "depth", "last"} and _inside(gene, pick)
        ]
        rest = [gene for gene in rest if gene not in own]
        total *= sum(
            _count_depths([gene for gene in own if all(c in kept for _, c in gene.cells)])
            for kept in pick.keeps
        )
    return total * _count_depths(rest)


def _count_depths(genes: Sequence[Gene]) -> int:
    total, rest = 1, list(genes)
    for depth in (gene for gene in genes if gene.role in {"depth", "last"}):
        rest.remove(depth)
        own = [gene for gene in rest if gene.role == "size" and _inside(gene, depth)]
        rest = [gene for gene in rest if gene not in own]
        total *= sum(
            prod(len(gene.choices) for gene in own if not set(gene.cells) <= set(depth.off(choice)))
            for choice in range(len(depth.choices))
        )
    return total * prod(len(gene.choices) for gene in rest)


def _inside(gene: Gene, control: Gene) -> bool:
    return set(gene.cells) <= set(control.cells)


def active(gene: Gene, pattern: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Return the cells of a gene that lie in its layer group."""
    if gene.part is None:
        return gene.cells
    return tuple(cell for cell in gene.cells if pattern[cell[0]] == gene.part)


def fit(gene: Gene, configuration: Configuration, pattern: tuple[int, ...]) -> int:
    """Choose what comes nearest to a configuration."""
    sizes = configuration.sizes
    present = [cell for cell in gene.cells if sizes[cell[0]][cell[1]]]
    if gene.role == "switch":
        return int(bool(present))
    if gene.role in {"depth", "last", "pick"}:
        outside = [len(set(gene.off(c)) & set(present)) for c in range(len(gene.choices))]
        return outside.index(min(outside))
    size = max((sizes[block][column] for block, column in active(gene, pattern)), default=0)
    if gene.filled:
        return int(size > 0)
    distances = [abs(choice - size) for choice in gene.choices]
    return distances.index(min(distances))


def enabling(gene: Gene, cell: tuple[int, int]) -> int:
    """Find the first choice under which a cell can be there."""
    choices = range(len(gene.choices))
    return next((choice for choice in choices if cell not in set(gene.off(choice))), 0)


def simple(genes: Sequence[Gene], patterns: int) -> Iterator[tuple[int, ...]]:
    """Yield genomes in which one gene is set, and what it takes for one of its cells to be."""
    controls = [(i, gene, set(gene.cells)) for i, gene in enumerate(genes)
                if gene.role in CONTROLS]  # fmt: skip
    parted = [i for i, gene in enumerate(genes) if gene.role == "pattern"]
    for index, gene in enumerate(genes):
        if gene.role != "size":
            continue
        needed = {
            tuple((i, enabling(g, cell)) for i, g, cells in controls if cell in cells)
            for cell in gene.cells
        }
        choices, divisions = range(len(gene.choices)), range(patterns) if parted else (0,)
        for choice, enabled, pattern in product(choices, sorted(needed), divisions):
            genome = [0] * len(genes)
            for i, value in enabled:
                genome[i] = value
            for i in parted:
                genome[i] = pattern
            genome[index] = choice
            yield tuple(genome)
