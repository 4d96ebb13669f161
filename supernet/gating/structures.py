"""Which cells of a space have a gate, and how a budget is filled with them. No torch here.

A gate stands for a gene: one cell, or several that are tied, in a space with one division into
layer groups those of a group. Where switches, depths or picks decide which cells can be there, the
cells of a gene on which they decide alike have a gate of their own. Such a gate says how much its
cells are worth if they are there; rules are left aside while gates are trained, and kept when the
structure is put together (``Filling.put_in``).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autopeft.errors import SpaceError
from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.checking import clashes
from autopeft.search_spaces.configuration import Configuration
from autopeft.search_spaces.genes import CONTROLS, Gene, active, enabling
from autopeft.search_spaces.space import SearchSpace

Genome = tuple[int, ...]
Cell = tuple[int, int]
_RULES = "weighs cells that are there or not, and"
_WHY = {
    "pattern": "how blocks are divided into groups",
    "allocation": "how a budget is shared out",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A gene that is on or off at one of its sizes.

    ``choices`` are those of its choices that are sizes above zero, ``sizes`` and ``costs`` what
    they stand for, ascending. ``enables`` are the controls that can turn its cells off, each with
    the first choice under which they can be there. ``free`` is false where it cannot be off.
    """

    gene: int
    cells: tuple[tuple[int, int], ...]
    choices: tuple[int, ...]
    sizes: tuple[int, ...]
    costs: tuple[int, ...]
    free: bool
    enables: tuple[tuple[int, int], ...] = ()


def gates_of(space: SearchSpace, strategy: str, *, sized: bool) -> tuple[Gate, ...]:
    """List the gates of a space: at their smallest sizes, or, where ``sized``, at all of them.

    Raises:
        SpaceError: The space has rules that say nothing of single cells, or methods that cannot be
            weighed, cut or put in together.
    """
    if wrong := next(_faults(space, sized=sized), None):
        raise SpaceError(
            f"the strategy {strategy} cannot search the space {space.name!r}: {wrong}; take "
            "another space such as 's3pet', or another strategy such as 'tpe'"
        )
    gates = []
    for index, gene in enumerate(space.genes):
        present = [choice for choice, size in enumerate(gene.choices) if size]
        choices = present if sized else present[:1]
        if gene.role == "size" and choices:
            gates += [
                _gate(space, index, choices, cells, enables)
                for enables, cells in _alike(space, gene).items()
            ]
    return tuple(gates)


def _alike(space: SearchSpace, gene: Gene) -> dict[tuple[tuple[int, int], ...], list[Cell]]:
    """Sort the cells of a gene by the controls they need, each at its first choice."""
    controls = [(i, g, set(g.cells)) for i, g in enumerate(space.genes) if g.role in CONTROLS]
    pattern = space.patterns[0] if space.patterns else ()
    found: dict[tuple[tuple[int, int], ...], list[Cell]] = {}
    for cell in active(gene, pattern):
        needed = tuple((i, enabling(g, cell)) for i, g, cells in controls if cell in cells)
        found.setdefault(needed, []).append(cell)
    return found


def _gate(
    space: SearchSpace,
    index: int,
    choices: Sequence[int],
    cells: Sequence[Cell],
    enables: tuple[tuple[int, int], ...],
) -> Gate:
    gene, slots = space.genes[index], [space.slots[column] for _, column in cells]
    sizes = tuple(gene.choices[choice] for choice in choices)
    controls = [space.genes[control] for control, _ in enables]
    leaves = any(
        not set(cells).isdisjoint(control.off(choice))
        for control in controls
        for choice in range(len(control.choices))
    )
    return Gate(
        gene=index,
        cells=tuple(cells),
        choices=tuple(choices),
        sizes=sizes,
        costs=tuple(sum(slot.parameters(size) for slot in slots) for size in sizes),
        free=gene.choices[0] == 0 or leaves,
        enables=enables,
    )


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

    def put_in(self, order: Iterable[tuple[Gate, int]]) -> Genome:
        """Give gates a choice, one after the other, with what it takes for their cells to be there.

        A gate that is in stays as it is. What would put another gate's cells out, or does not fit,
        is skipped; at a second try it may find what it needs. Other cells of the space come in
        where they are tied to those.
        """
        genome: Genome = (0,) * len(self._space.genes)
        inside: set[Gate] = set()
        for gate, choice in (*(every := tuple(order)), *every):
            if gate in inside:
                continue
            tried = _with(genome, gate, choice)
            table = self._space.decode(tried)
            there = all(_is_there(table, other) for other in (*inside, gate))
            if there and table.parameters(self._space.slots) <= self._ceiling:
                genome = tried
                inside.add(gate)
        return genome

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


def _with(genome: Genome, gate: Gate, choice: int) -> Genome:
    """Set a gate's gene and what controls it; a gene or a control that is on stays where it is."""
    tried = list(genome)
    tried[gate.gene] = tried[gate.gene] or choice
    for control, least in gate.enables:
        tried[control] = max(tried[control], least)
    return tuple(tried)


def _is_there(table: Configuration, gate: Gate) -> bool:
    return all(table.sizes[block][column] for block, column in gate.cells)


def chances_of(
    space: SearchSpace, likely: Mapping[Gate, Sequence[float]]
) -> tuple[tuple[float, ...], ...]:
    """Return for every gene the probability of each of its choices, by those of the gates.

    ``likely`` are the probabilities of a gate's ``choices``; what is left is that it is off. Where
    several gates belong to a gene they are averaged. A choice of a switch, depth or pick is as
    likely as what it turns on is to be there, and what it turns off not to be: the geometric mean
    over these gates.
    """
    found = list(equal_chances(space))
    for index in {gate.gene for gate in likely}:
        own = [(gate, shares) for gate, shares in likely.items() if gate.gene == index]
        row = np.zeros(len(space.genes[index].choices))
        for gate, shares in own:
            row[list(gate.choices)] += shares
        row /= len(own)
        if space.genes[index].choices[0] == 0:
            row[0] = max(0.0, 1.0 - row[1:].sum())
        found[index] = tuple((row / row.sum()).tolist())
    for index, gene in enumerate(space.genes):
        led = [(g, sum(s)) for g, s in likely.items() if any(i == index for i, _ in g.enables)]
        if led:
            found[index] = _chances_of_control(gene, led)
    return tuple(found)


def _chances_of_control(gene: Gene, led: Sequence[tuple[Gate, float]]) -> tuple[float, ...]:
    logs = []
    for choice in range(len(gene.choices)):
        off = set(gene.off(choice))
        there = [1 - on if off.intersection(gate.cells) else on for gate, on in led]
        logs.append(float(np.mean(np.log(np.clip(there, 1e-6, 1.0)))))
    odds = np.exp(np.array(logs) - max(logs))
    return tuple((odds / odds.sum()).tolist())


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
        if gene.role in _WHY and len(gene.choices) > 1:
            yield f"it {_RULES} {gene.name!r} decides {_WHY[gene.role]}"
        elif gene.filled:
            yield f"it {_RULES} sizes of {gene.name!r} follow from the budget"
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
