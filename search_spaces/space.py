"""A search space: which sizes each slot may take, and how cells are tied.

A space is a row of *genes*. A gene is one free choice among a few sizes; it decides the size of
one cell, or of all the cells that are tied to it. Where a space has *switches*, one more gene a
block turns all of that block off.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from autopeft.errors import BudgetError
from autopeft.search_spaces.configuration import Configuration, Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class Gene:
    """One free choice: the size of the cells (block, column) that are tied together.

    ``choices`` are ascending; a leading 0 allows absence. A switch has no cells of its own.
    """

    name: str
    choices: tuple[int, ...]
    cells: tuple[tuple[int, int], ...] = ()
    switches: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpace:
    """The configurations that a study may propose, on one backbone.

    A *genome* holds for each gene the index of its choice; ``decode`` turns it into a
    configuration and ``encode`` back.
    """

    name: str
    summary: str
    blocks: int
    slots: tuple[Slot, ...]
    genes: tuple[Gene, ...]

    @property
    def size(self) -> int:
        """Count the genomes; an upper bound on the distinct configurations."""
        return prod(len(gene.choices) for gene in self.genes)

    def decode(self, genome: Sequence[int]) -> Configuration:
        """Build the table that a genome stands for."""
        table = [[0] * len(self.slots) for _ in range(self.blocks)]
        off = {
            gene.switches
            for gene, choice in zip(self.genes, genome, strict=True)
            if gene.switches is not None and not gene.choices[choice]
        }
        for gene, choice in zip(self.genes, genome, strict=True):
            for block, column in gene.cells:
                if block not in off:
                    table[block][column] = gene.choices[choice]
        return Configuration(tuple(tuple(row) for row in table))

    def encode(self, configuration: Configuration) -> tuple[int, ...] | None:
        """Find the genome of a configuration, or None when the space does not hold it."""
        switched = {gene.switches for gene in self.genes if gene.switches is not None}
        off = {block for block in switched if not any(configuration.sizes[block])}
        genome = []
        for gene in self.genes:
            if gene.switches is not None:
                genome.append(int(gene.switches not in off))
                continue
            sizes = {
                configuration.sizes[block][column]
                for block, column in gene.cells
                if block not in off
            }
            size = max(sizes, default=gene.choices[0])
            if size not in gene.choices:
                return None
            genome.append(gene.choices.index(size))
        return tuple(genome) if self.decode(genome) == configuration else None

    def nearest(self, configuration: Configuration) -> tuple[int, ...] | None:
        """Find a genome close to a configuration, or None when it uses slots that no gene sets.

        Every gene takes the choice nearest to the largest of its cells.
        """
        if not self.covers(configuration):
            return None
        genome = []
        for gene in self.genes:
            if gene.switches is not None:
                genome.append(int(any(configuration.sizes[gene.switches])))
                continue
            size = max(configuration.sizes[block][column] for block, column in gene.cells)
            distances = [abs(choice - size) for choice in gene.choices]
            genome.append(distances.index(min(distances)))
        return tuple(genome)

    def covers(self, configuration: Configuration) -> bool:
        """Whether a configuration uses no cell but those that genes set, whatever its sizes."""
        cells = {cell for gene in self.genes for cell in gene.cells}
        return all(
            (block, column) in cells
            for block, row in enumerate(configuration.sizes)
            for column, size in enumerate(row)
            if size
        )

    def parameters(self, genome: Sequence[int]) -> int:
        """Count what the configuration of a genome trains."""
        return self.decode(genome).parameters(self.slots)

    def simple_genomes(self) -> Iterator[tuple[int, ...]]:
        """Yield the non-empty genomes in which one gene, in one block if blocks switch, is set.

        The smallest configuration is among them, because whatever else is set only adds to it.
        """
        switches: list[int | None] = [
            index for index, gene in enumerate(self.genes) if gene.switches is not None
        ]
        for index, gene in enumerate(self.genes):
            for choice, size in enumerate(gene.choices):
                for switch in switches or [None]:
                    genome = [0] * len(self.genes)
                    genome[index] = choice
                    if switch is not None:
                        genome[switch] = 1
                    if size and gene.switches is None and not self.decode(genome).empty:
                        yield tuple(genome)

    def smallest(self) -> Configuration:
        """Find the non-empty configuration with the fewest parameters."""
        return self.decode(min(self.simple_genomes(), key=self.parameters))

    def largest(self) -> Configuration:
        """Build the configuration in which every gene takes its last choice."""
        return self.decode([len(gene.choices) - 1 for gene in self.genes])

    def must_fit(self, ceiling: int, backbone_parameters: int) -> None:
        """Refuse a ceiling under which nothing can be proposed.

        Raises:
            BudgetError: The smallest configuration is over the ceiling; it is named.
        """
        smallest = self.smallest()
        needed = smallest.parameters(self.slots)
        if needed > ceiling:
            raise BudgetError(
                f"nothing in the space {self.name!r} fits into {ceiling:,} parameters: the "
                f"smallest configuration trains {needed:,} ({needed / backbone_parameters:.4%} of "
                f"the backbone; {smallest.summary(self.slots)}); raise the budget or take another "
                "space"
            )
