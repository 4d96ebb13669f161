"""Counting many genomes of a space at once, without building their tables one by one.

``SearchSpace.parameters`` is the meaning, ``Counter`` the speed; a test holds them together.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autopeft.search_spaces.checking import clashes, partners
from autopeft.search_spaces.configuration import Slot
from autopeft.search_spaces.genes import CONTROLS, Follower, Gene

Numbers = NDArray[np.int64]

# N genomes, G genes, K choices of a gene, B blocks, S slots, P cells that genes set
_CHUNK = 512


class Counter:
    """Counts genomes of one space with arrays over its cells.

    ``one_by_one`` counts a genome by decoding it: for spaces whose sizes follow from a budget, or
    in which layer groups decide where a gene acts. They have few genes.
    """

    def __init__(
        self,
        *,
        blocks: int,
        slots: tuple[Slot, ...],
        genes: tuple[Gene, ...],
        followers: tuple[Follower, ...],
        one_by_one: Callable[[Sequence[int]], int] | None,
    ) -> None:
        self._blocks, self._slots, self._followers = blocks, slots, followers
        self._one_by_one = one_by_one
        most = max((len(gene.choices) for gene in genes), default=1)
        self.sizes_GK: Numbers = np.zeros((len(genes), most), dtype=np.int64)
        for index, gene in enumerate(genes):
            if gene.role == "size":
                self.sizes_GK[index, : len(gene.choices)] = gene.choices
        cells = [(g, block * len(slots) + column)
                 for g, gene in enumerate(genes) if gene.role == "size"
                 for block, column in gene.cells]  # fmt: skip
        self._gene_P = np.array([gene for gene, _ in cells], dtype=np.int64)
        self._flat_P = np.array([flat for _, flat in cells], dtype=np.int64)
        self._rules = [rule for rule in _rules(genes, len(slots)) if len(rule[2])]
        self._unit_S, self._fixed_S, self._square_S, self._once_S = (
            np.array([getattr(slot, field) for slot in slots], dtype=np.int64)
            for field in ("unit", "fixed", "square", "once")
        )
        self._clashes, self._partners = clashes(slots), partners(slots)
        self.additive = (
            one_by_one is None
            and not (self._rules or followers or self._once_S.any())
            and not (self._clashes or self._partners)
        )

    def count(self, genome: Sequence[int]) -> int:
        """Count what one genome trains."""
        return int(self.counts([genome])[0])

    def counts(self, genomes: Sequence[Sequence[int]]) -> Numbers:
        """Count what each of several genomes trains."""
        if self._one_by_one:
            return np.array([self._one_by_one(genome) for genome in genomes], dtype=np.int64)
        parts = [
            self._counts(np.array(genomes[start : start + _CHUNK], dtype=np.int64))
            for start in range(0, len(genomes), _CHUNK)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def costs_of_choices(self) -> Numbers:
        """Count what every choice of every gene trains by itself, as genes by choices."""
        columns_P = self._flat_P % len(self._slots)
        sizes_PK = self.sizes_GK[self._gene_P]
        unit, fixed, square = (
            array[columns_P][:, None] for array in (self._unit_S, self._fixed_S, self._square_S)
        )
        costs_PK = (square * sizes_PK + unit) * sizes_PK + fixed * (sizes_PK > 0)
        costs_GK: Numbers = np.zeros_like(self.sizes_GK)
        np.add.at(costs_GK, self._gene_P, costs_PK)
        return costs_GK

    def _counts(self, genomes_NG: Numbers) -> Numbers:
        slots = len(self._slots)
        chosen_NP = genomes_NG[:, self._gene_P]
        table: Numbers = np.zeros((len(genomes_NG), self._blocks * slots), dtype=np.int64)
        table[:, self._flat_P] = self.sizes_GK[self._gene_P, chosen_NP]
        for gene, choice, flat in self._rules:
            rows = np.flatnonzero(genomes_NG[:, gene] == choice)
            if len(rows):
                table[rows[:, None], flat] = 0
        table_NBS = table.reshape(len(genomes_NG), self._blocks, slots)
        for earlier, later in self._clashes:
            table_NBS[:, :, later] *= table_NBS[:, :, earlier] == 0
        for column, needed in self._partners:
            table_NBS[:, :, column] *= (table_NBS[:, :, list(needed)] > 0).any(axis=2)
        for follower in self._followers:
            led = (table_NBS[:, :, list(follower.leaders)] > 0).any(axis=2)
            table_NBS[:, :, follower.column] = led
        present = table_NBS > 0
        costs = (self._square_S * table_NBS + self._unit_S) * table_NBS + self._fixed_S * present
        counts: Numbers = costs.sum(axis=(1, 2)) + present.any(axis=1) @ self._once_S
        return counts


def _rules(genes: Sequence[Gene], slots: int) -> list[tuple[int, int, Any]]:
    """List, for genes that are no sizes, which cells each of their choices turns off."""
    return [
        (
            index,
            choice,
            np.array([block * slots + column for block, column in gene.off(choice)], int),
        )
        for index, gene in enumerate(genes)
        if gene.role in CONTROLS
        for choice in range(len(gene.choices))
    ]
