"""A search space: which sizes each slot may take, and how cells are tied.

A space is a row of genes (see ``genes``), and rules that follow from them: followers, layer
groups, slots that clash, sizes that the budget decides.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from autopeft.errors import BudgetError, SpaceError
from autopeft.search_spaces.allocation import ALLOCATIONS, Allocation, Unit, fill_rows
from autopeft.search_spaces.checking import clashes, partners
from autopeft.search_spaces.configuration import Configuration, Slot
from autopeft.search_spaces.counting import Counter
from autopeft.search_spaces.genes import Follower, Gene, active, count, fit, simple

Table = list[list[int]]
_FEW = 1024  # genomes that are all tried to find the largest
_FRAMING = frozenset({"pattern", "allocation"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpace:
    """The configurations that a study may propose, on one backbone.

    A *genome* holds for each gene the index of its choice; ``decode`` turns it into a
    configuration and ``encode`` back. ``patterns`` name the layer group of every row, one tuple a
    choice. ``ceiling`` is what the sizes follow from in a space that has filled genes, None
    elsewhere. ``start_from`` names published configurations to be tried first.
    """

    name: str
    summary: str
    blocks: int
    slots: tuple[Slot, ...]
    genes: tuple[Gene, ...]
    followers: tuple[Follower, ...] = ()
    patterns: tuple[tuple[int, ...], ...] = ()
    allocations: tuple[Allocation, ...] = ()
    ceiling: int | None = None
    start_from: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Count the genomes; those that differ only where a depth or a pick silences them, once.

        An upper bound on the distinct configurations, and equal to them where there are no
        switches, layer groups or slots that clash.
        """
        return count(self.genes)

    @property
    def free_methods(self) -> tuple[str, ...]:
        """Name the methods about whose presence genes decide."""
        slots = (self.slots[column] for gene in self.genes for _, column in gene.cells)
        return tuple(dict.fromkeys(slot.method for slot in slots))

    @property
    def methods(self) -> tuple[str, ...]:
        """Name the methods that a configuration may have, followers last."""
        led = (self.slots[follower.column].method for follower in self.followers)
        return tuple(dict.fromkeys((*self.free_methods, *led)))

    def decode(self, genome: Sequence[int]) -> Configuration:
        """Build the table that a genome stands for.

        Of two slots that clash the later one gives way, and so does one that is nothing alone.
        """
        table = [[0] * len(self.slots) for _ in range(self.blocks)]
        pattern = self._pattern(genome)
        for gene, choice in zip(self.genes, genome, strict=True):
            if gene.role == "size" and (size := gene.choices[choice]):
                for block, column in active(gene, pattern):
                    table[block][column] = size
        for gene, choice in zip(self.genes, genome, strict=True):
            if gene.role != "size":
                for block, column in gene.off(choice):
                    table[block][column] = 0
        self._settle(table)
        if self.ceiling is not None:
            self._fill(table, genome, pattern, self.ceiling)
        else:
            self._follow(table)
        return Configuration(tuple(map(tuple, table)))

    def _pattern(self, genome: Sequence[int]) -> tuple[int, ...]:
        for gene, choice in zip(self.genes, genome, strict=True):
            if gene.role == "pattern":
                return self.patterns[choice]
        return self.patterns[0] if self.patterns else ()

    def _settle(self, table: Table) -> None:
        rivals, dependants = clashes(self.slots), partners(self.slots)
        for row in table:
            for earlier, later in rivals:
                if row[earlier]:
                    row[later] = 0
            for column, needed in dependants:
                if not any(row[partner] for partner in needed):
                    row[column] = 0

    def _follow(self, table: Table) -> None:
        for follower in self.followers:
            for row in table:
                row[follower.column] = int(any(row[leader] for leader in follower.leaders))

    def _fill(
        self, table: Table, genome: Sequence[int], pattern: tuple[int, ...], ceiling: int
    ) -> None:
        """Replace the marks of filled genes by what the budget allows."""
        self._follow(table)
        units = []
        for gene, choice in zip(self.genes, genome, strict=True):
            if not gene.filled or not gene.choices[choice]:
                continue
            rows: dict[int, list[int]] = {}
            for block, column in active(gene, pattern):
                if table[block][column]:
                    rows.setdefault(block, []).append(column)
                    table[block][column] = 0
            units += [Unit(row, tuple(columns)) for row, columns in rows.items()]
        chosen = (c for g, c in zip(self.genes, genome, strict=True) if g.role == "allocation")
        weight = ALLOCATIONS[self.allocations[next(chosen, 0)] if self.allocations else "uniform"]
        count = max(pattern, default=0) + 1
        weights = [weight(group, count) for group in pattern] or [1] * self.blocks
        fill_rows(table, units, self.slots, weights, ceiling)
        self._settle(table)  # what acts on a cell for which nothing was left goes with it
        self._follow(table)

    def encode(self, configuration: Configuration) -> tuple[int, ...] | None:
        """Find the genome of a configuration, or None when the space does not hold it."""
        for genome in self._candidates(configuration):
            if self.decode(genome) == configuration:
                return genome
        return None

    def nearest(self, configuration: Configuration) -> tuple[int, ...] | None:
        """Find a genome close to a configuration, or None when it uses slots that no gene sets.

        Every gene takes the choice nearest to the largest of its cells; of several layer patterns
        that one is taken with the fewest cells that are present in one and absent in the other.
        """
        if not self.covers(configuration):
            return None

        def differences(genome: Sequence[int]) -> int:
            decoded = self.decode(genome).sizes
            return sum(
                bool(a) != bool(b)
                for row, other in zip(decoded, configuration.sizes, strict=True)
                for a, b in zip(row, other, strict=True)
            )

        candidates = list(self._candidates(configuration))
        return candidates[0] if len(candidates) == 1 else min(candidates, key=differences)

    def _candidates(self, configuration: Configuration) -> Iterator[tuple[int, ...]]:
        """Yield the genome whose genes fit best, for every pattern and allocation."""
        frames = [
            range(len(gene.choices)) if gene.role in _FRAMING else (0,) for gene in self.genes
        ]
        for frame in product(*frames):
            pattern = self._pattern(frame)
            yield tuple(
                fixed if gene.role in _FRAMING else fit(gene, configuration, pattern)
                for gene, fixed in zip(self.genes, frame, strict=True)
            )

    def covers(self, configuration: Configuration) -> bool:
        """Whether a configuration uses no cell but those that genes set, whatever its sizes."""
        cells = {cell for gene in self.genes for cell in gene.cells}
        followers = {follower.column for follower in self.followers}
        return all(
            column in followers or (block, column) in cells
            for block, row in enumerate(configuration.sizes)
            for column, size in enumerate(row)
            if size
        )

    def parameters(self, genome: Sequence[int]) -> int:
        """Count what the configuration of a genome trains."""
        return self.decode(genome).parameters(self.slots)

    def counter(self) -> Counter:
        """Build what counts many genomes of the space at once."""
        decoded = self.ceiling is not None or bool(self.patterns)
        return Counter(
            blocks=self.blocks,
            slots=self.slots,
            genes=self.genes,
            followers=self.followers,
            one_by_one=self.parameters if decoded else None,
        )

    def simple_genomes(self) -> Iterator[tuple[int, ...]]:
        """Yield genomes in which one gene is set, and what it takes for one of its cells to be.

        The smallest configuration is among them, because whatever else is set only adds to it;
        a genome of an empty configuration may be among them too.
        """
        return simple(self.genes, len(self.patterns))

    def smallest(self) -> Configuration:
        """Find the non-empty configuration with the fewest parameters.

        Raises:
            BudgetError: Sizes follow from the budget, and it allows none.
            SpaceError: No genome trains anything, whatever the budget.
        """
        counter = self.counter()
        genomes = list(dict.fromkeys(self.simple_genomes()))
        counts = [int(trained) for trained in counter.counts(genomes)]
        present = [i for i, trained in enumerate(counts) if trained]
        if not present and self.ceiling is None:
            raise SpaceError(
                f"no configuration of the space {self.name!r} trains anything: all that it names "
                "acts on other methods, which it leaves out, or has a depth of no blocks; add a "
                "group such as {slots: [lora@attention.query], sizes: [0, 4, 8]}"
            )
        if not present:
            raise BudgetError(
                f"nothing in the space {self.name!r} fits into {self.ceiling:,} parameters: "
                "its sizes follow from the budget, and none is above zero; raise the budget or "
                "take another space"
            )
        return self.decode(genomes[min(present, key=lambda i: (counts[i], i))])

    def largest(self) -> Configuration:
        """Find the configuration with the most parameters, or one near it (``largest_is_exact``).

        Few genomes are all tried. Of many, every gene takes its last choice; where that keeps
        others out, because slots clash, one set of slots is picked or a budget is shared, choices
        are tried one after the other and the better one is kept.
        """
        if self._genomes <= _FEW:
            every = list(product(*(range(len(gene.choices)) for gene in self.genes)))
            return self.decode(every[int(self.counter().counts(every).argmax())])
        framed = product(*(
            range(len(gene.choices)) if gene.role in _FRAMING else (len(gene.choices) - 1,)
            for gene in self.genes
        ))  # fmt: skip
        best, genome = max((self.parameters(genome), genome) for genome in framed)
        columns = self._rivals
        for index, gene in enumerate(self.genes):
            keeps_out = gene.filled or any(column in columns for _, column in gene.cells)
            if gene.role == "pick":
                others = range(len(gene.choices))
            elif gene.choices[0] == 0 and keeps_out:
                others = range(1)
            else:
                continue
            for choice in others:
                tried = (*genome[:index], choice, *genome[index + 1 :])
                if (trained := self.parameters(tried)) > best:
                    genome, best = tried, trained
        return self.decode(genome)

    @property
    def largest_is_exact(self) -> bool:
        """Whether no configuration trains more than ``largest``; elsewhere some may.

        Where sizes follow from the budget, that is what limits them; where slots clash or several
        sets are picked, the best of all combinations is not looked for.
        """
        if self._genomes <= _FEW:
            return True
        picks = sum(gene.role == "pick" for gene in self.genes)
        together = picks > 1 and (any(s.once for s in self.slots) or bool(partners(self.slots)))
        return self.ceiling is None and not self._rivals and not together

    @property
    def _genomes(self) -> int:
        return prod(len(gene.choices) for gene in self.genes)

    @property
    def _rivals(self) -> set[int]:
        """Find the columns that genes set and that clash with each other."""
        used = {column for gene in self.genes for _, column in gene.cells}
        return {c for pair in clashes(self.slots) if used.issuperset(pair) for c in pair}

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
