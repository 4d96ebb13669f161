"""Drawing genomes at random, and shrinking those that are over the ceiling."""

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from autopeft.search_spaces.checking import clashes
from autopeft.search_spaces.space import SearchSpace

Genome = tuple[int, ...]
Numbers = NDArray[np.int64]


class Sampler:
    """Draws from one space under one ceiling.

    The space must hold a configuration that fits (see ``SearchSpace.must_fit``).
    """

    def __init__(self, space: SearchSpace, ceiling: int) -> None:
        self._space = space
        self._ceiling = ceiling
        self._counter = space.counter()
        self._costs_GK = self._counter.costs_of_choices()
        self._choices_G = np.array([len(gene.choices) for gene in space.genes], dtype=np.int64)
        self._index_G = np.arange(len(space.genes))
        self._methods = space.free_methods
        self._can_be_absent = np.array(
            [gene.role == "size" and gene.choices[0] == 0 for gene in space.genes], dtype=bool
        )
        self._lowers = np.array(
            [gene.role in {"size", "switch", "depth", "last"} for gene in space.genes], dtype=bool
        )
        self._uses_GM: NDArray[np.bool_] = np.array(
            [[method in used for method in self._methods] for used in _methods_of_genes(space)],
            dtype=bool,
        ).reshape(len(space.genes), len(self._methods))
        self._rivals = np.array(list(_rivals(space)), dtype=np.int64).reshape(-1, 4)

    def draw(self, rng: np.random.Generator) -> Genome:
        """Draw a non-empty genome within the ceiling.

        First the methods that may be present are drawn, one to all of them, because a configuration
        of few methods is otherwise never met in a space of many; then every gene of theirs, and
        every one that cannot be absent, uniformly. Where two slots clash, the method that was drawn
        first stays. Then the whole is shrunk until it fits. Where nothing is left of it, because
        the ceiling is close to the smallest configuration, one cell that fits is drawn.
        """
        order = rng.permutation(len(self._methods))
        drawn = order[: rng.integers(1, len(self._methods) + 1)]
        present = np.zeros(len(self._methods), dtype=bool)
        present[drawn] = True
        free_G = ~self._can_be_absent | ~(self._uses_GM & ~present).any(axis=1)
        genome = (rng.random(len(free_G)) * self._choices_G).astype(np.int64) * free_G
        self._settle(genome, np.argsort(order))
        fitted = self.shrink(genome.tolist(), rng)
        if self._keeps(fitted):
            return fitted
        return self._fitting[int(rng.integers(len(self._fitting)))]

    def fit(self, genome: Sequence[int], rng: np.random.Generator) -> Genome:
        """Shrink a genome that somebody suggests; where nothing is left of it, draw another."""
        fitted = self.shrink(genome, rng)
        return fitted if self._keeps(fitted) else self.draw(rng)

    def _keeps(self, genome: Genome) -> bool:
        return 0 < self._counter.count(genome) <= self._ceiling

    def shrink(self, genome: Sequence[int], rng: np.random.Generator) -> Genome:
        """Lower random genes to a random smaller choice until the ceiling is kept.

        A genome that fits is returned as it is; picks and layer groups stay as they are. The result
        may be empty, or over the ceiling where its genes cannot be absent.

        Choosing a gene uniformly among those that can still be lowered, again and again, is the
        same as giving every gene a clock with exponential waiting times: so all steps are drawn at
        once and put in order, and the first after which the ceiling is kept is looked up.
        """
        start = np.array(genome, dtype=np.int64)
        over = self._counter.count(genome) - self._ceiling
        if over <= 0:
            return tuple(genome)
        if not (start * self._lowers).any():
            return tuple(genome)
        genes, lowered, before = self._steps(start, rng)
        if self._counter.additive:
            saved = np.cumsum(self._costs_GK[genes, before] - self._costs_GK[genes, lowered])
            return tuple(_after(start, genes, lowered, int(np.searchsorted(saved, over)) + 1))
        low, high = 1, len(genes)  # after all steps every gene is at its first choice
        while low < high:
            middle = (low + high) // 2
            if self._counter.count(_after(start, genes, lowered, middle)) <= self._ceiling:
                high = middle
            else:
                low = middle + 1
        return tuple(_after(start, genes, lowered, low))

    def _steps(self, start: Numbers, rng: np.random.Generator) -> tuple[Numbers, Numbers, Numbers]:
        """Draw the steps that lower every gene to its first choice: gene, choice after, before."""
        lowered = (start > 0) & self._lowers
        genes, before = self._index_G[lowered], start[lowered]
        time = np.zeros(len(genes))
        rounds = []
        while len(genes):
            time = time + rng.exponential(size=len(genes))
            after = (rng.random(len(genes)) * before).astype(np.int64)
            rounds.append((time, genes, after, before))
            left = after > 0
            genes, before, time = genes[left], after[left], time[left]
        times, all_genes, all_after, all_before = (
            np.concatenate(part) for part in zip(*rounds, strict=True)
        )
        order = np.argsort(times)
        return all_genes[order], all_after[order], all_before[order]

    def _settle(self, genome: Numbers, rank: Numbers) -> None:
        """Of two genes whose slots clash, put that one to absence whose method was drawn later."""
        if not len(self._rivals):
            return
        one, other, method, another = self._rivals.T
        both = (genome[one] > 0) & (genome[other] > 0)
        loser = np.where(rank[method] <= rank[another], other, one)
        genome[loser[both]] = 0

    @cached_property
    def _fitting(self) -> list[Genome]:
        genomes = list(dict.fromkeys(self._space.simple_genomes()))
        counts = self._counter.counts(genomes)
        return [g for g, n in zip(genomes, counts, strict=True) if 0 < n <= self._ceiling]


def _after(start: Numbers, genes: Numbers, lowered: Numbers, steps: int) -> list[int]:
    """Apply the first steps; a gene's later steps overwrite its earlier ones."""
    genome = start.copy()
    genome[genes[:steps]] = lowered[:steps]
    result: list[int] = genome.tolist()
    return result


def _methods_of_genes(space: SearchSpace) -> list[set[str]]:
    return [{space.slots[column].method for _, column in gene.cells} for gene in space.genes]


def _rivals(space: SearchSpace) -> Iterator[tuple[int, int, int, int]]:
    """Yield pairs of genes of one cell whose slots clash, with the numbers of their methods."""
    methods = space.free_methods
    by_cell = {
        gene.cells[0]: index
        for index, gene in enumerate(space.genes)
        if gene.role == "size" and len(gene.cells) == 1 and gene.choices[0] == 0
    }
    for earlier, later in clashes(space.slots):
        for block in range(space.blocks):
            one, other = by_cell.get((block, earlier)), by_cell.get((block, later))
            if one is not None and other is not None:
                first, second = (methods.index(space.slots[c].method) for c in (earlier, later))
                yield one, other, first, second
