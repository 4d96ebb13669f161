"""Which cells of a space have a gate, and how a budget is filled with them. No torch here.

A gate stands for a gene: one cell, or several that are tied.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from autopeft.errors import SpaceError
from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.checking import clashes
from autopeft.search_spaces.configuration import Configuration
from autopeft.search_spaces.genes import Gene
from autopeft.search_spaces.space import SearchSpace

Genome = tuple[int, ...]
_RULES = "decides about every cell by itself, and"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A gene that is on or off at one of its sizes.

    ``choices`` are those of its choices that are sizes above zero, ``sizes`` and ``costs`` what
    they stand for, ascending. ``free`` is false where it cannot be off.
    """

    gene: int
    cells: tuple[tuple[int, int], ...]
    choices: tuple[int, ...]
    sizes: tuple[int, ...]
    costs: tuple[int, ...]
    free: bool


def gates_of(space: SearchSpace, strategy: str, *, sized: bool) -> tuple[Gate, ...]:
    """List the gates of a space: at their smallest sizes, or, where ``sized``, at all of them.

    Raises:
        SpaceError: The space has rules beside its sizes, or methods that cannot be weighed, cut or
            put in together.
    """
    if wrong := next(_faults(space, sized=sized), None):
        raise SpaceError(
            f"the strategy {strategy} cannot search the space {space.name!r}: {wrong}; take "
            "another space such as 's3pet', or another strategy such as 'tpe'"
        )
    costs_GK = space.counter().costs_of_choices()
    gates = []
    for index, gene in enumerate(space.genes):
        present = [choice for choice, size in enumerate(gene.choices) if size]
        choices = present if sized else present[:1]
        if not choices:
            continue
        gates.append(
            Gate(
                gene=index,
                cells=gene.cells,
                choices=tuple(choices),
                sizes=tuple(gene.choices[choice] for choice in choices),
                costs=tuple(int(costs_GK[index, choice]) for choice in choices),
                free=gene.choices[0] == 0,
            )
        )
    return tuple(gates)


def everything(space: SearchSpace, gates: Iterable[Gate]) -> Configuration:
    """Return the table in which every gate is on, at its largest size."""
    table = [[0] * len(space.slots) for _ in range(space.blocks)]
    for gate in gates:
        for block, column in gate.cells:
            table[block][column] = gate.sizes[-1]
    return Configuration(tuple(map(tuple, table)))


class Filling:
    """Fills a budget with cells of one space."""

    def __init__(self, space: SearchSpace, ceiling: int) -> None:
        self._space = space
        self._ceiling = ceiling
        self._counter = space.counter()
        self._costs_GK = self._counter.costs_of_choices() if self._counter.additive else None

    def fill(self, order: Iterable[tuple[int, int]]) -> Genome:
        """Give genes a choice, one after the other; what does not fit any more is skipped.

        ``order`` are pairs of gene and choice. All other genes take their first choice, and none a
        smaller one than it has already.
        """
        genome = [0] * len(self._space.genes)
        trained = self._counter.count(genome)
        for gene, choice in order:
            before = genome[gene]
            if choice <= before:
                continue
            genome[gene] = choice
            total = self._count(genome, trained, gene, before)
            if total <= self._ceiling:
                trained = total
            else:
                genome[gene] = before
        return tuple(genome)

    def drawn(self, chances: tuple[tuple[float, ...], ...], rng: np.random.Generator) -> Genome:
        """Draw a structure that fills the budget, by the chances of every gene's choices.

        Genes come in the order of their log-odds with logistic noise: the noise that is added to a
        gate while it is searched. What does not fit at the size that was drawn may come at a
        smaller one.
        """
        keys, chosen = [], []
        for gene, odds in zip(self._space.genes, chances, strict=True):
            present = np.array(odds[1:] if gene.choices[0] == 0 and len(odds) > 1 else odds)
            chance = float(np.clip(present.sum(), 1e-6, 1 - 1e-6))
            keys.append(np.log(chance / (1 - chance)) + rng.logistic())
            ends = np.cumsum(present + 1e-9)
            choice = int(np.searchsorted(ends, rng.random() * ends[-1], side="right"))
            chosen.append(min(choice, len(ends) - 1) + len(odds) - len(present))
        wanted = [(index, chosen[index]) for index in np.argsort(-np.array(keys)).tolist()]
        smaller = [(index, choice) for index, top in wanted for choice in range(top - 1, 0, -1)]
        return self.fill([*wanted, *smaller])

    def _count(self, genome: list[int], trained: int, gene: int, before: int) -> int:
        if self._costs_GK is None:
            return self._counter.count(genome)
        return trained + int(self._costs_GK[gene, genome[gene]] - self._costs_GK[gene, before])


def equal_chances(space: SearchSpace) -> tuple[tuple[float, ...], ...]:
    """Return chances that prefer nothing: half for each gene to be absent, where it can be."""
    return tuple(_equal(gene) for gene in space.genes)


def _equal(gene: Gene) -> tuple[float, ...]:
    count = len(gene.choices)
    if gene.choices[0] == 0 and count > 1:
        return (0.5, *[0.5 / (count - 1)] * (count - 1))
    return (1 / count,) * count


def _faults(space: SearchSpace, *, sized: bool) -> Iterator[str]:
    for gene in space.genes:
        if gene.role != "size":
            yield f"it {_RULES} {gene.name!r} is a {gene.role}"
        elif gene.filled or gene.part is not None:
            yield f"it {_RULES} sizes of {gene.name!r} follow from the budget or a layer group"
    if space.followers:
        name = space.slots[space.followers[0].column].name
        yield f"it {_RULES} {name} follows others"
    used = sorted({column for gene in space.genes for _, column in gene.cells})
    for column in used:
        slot = space.slots[column]
        if not METHODS[slot.method].outer:
            yield f"what {slot.method} adds cannot be weighed by a gate"
    for first, second in clashes(space.slots):
        if {first, second} <= set(used):
            yield (
                f"it puts all cells in at once, and {space.slots[first].name} and "
                f"{space.slots[second].name} cannot be in one block"
            )
    for gene in space.genes:
        if sized and sum(size > 0 for size in gene.choices) > 1:
            for _, column in gene.cells:
                method = space.slots[column].method
                if not METHODS[method].rows:
                    yield f"a larger {method} cannot be cut to a smaller one"
