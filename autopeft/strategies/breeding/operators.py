"""How genomes and learning rates are changed and mixed: what all genetic strategies share.

Two families. *Gene by gene*, as AutoFormer does it (Chen et al. 2021): every gene is redrawn with a
probability, and a child takes each gene from either parent. *Module by module*, as NOAH's released
code does it (Zhang et al. 2022): only the depths of modules are redrawn, the sizes of blocks that
come in are drawn anew, and a child takes whole modules. NOAH's never change a size in place.

What comes out may be over the budget: ``Sampler.fit`` shrinks it.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.configuration import Configuration
from autopeft.search_spaces.sampling import Genome
from autopeft.search_spaces.space import SearchSpace
from autopeft.strategies.recipes import drawn_rate, rounded

Rates = Mapping[str, float]
_DEPTHS = frozenset({"depth", "last"})


def genome_of(space: SearchSpace, configuration: Configuration) -> Genome | None:
    """Find the genome of a configuration, or one close to it, as baselines need not be choices."""
    return space.encode(configuration) or space.nearest(configuration)


def mutated(
    space: SearchSpace,
    genome: Sequence[int],
    rng: np.random.Generator,
    *,
    sizes: float = 0.2,
    frames: float = 0.4,
    steps: float = 0.0,
) -> Genome:
    """Redraw genes, each with a probability; at least one where any can change.

    ``sizes`` is the probability of genes that are sizes, ``frames`` that of all others: depths,
    switches, picks, layer groups and allocations. ``steps`` is the share of the redrawn sizes that
    only go to the next larger or smaller choice; AutoFormer has none of these.
    """
    child, free = list(genome), [i for i, gene in enumerate(space.genes) if len(gene.choices) > 1]
    if not free:
        return tuple(child)
    draws = rng.random(len(free))
    chosen = [
        i
        for i, draw in zip(free, draws, strict=True)
        if draw < (sizes if space.genes[i].role == "size" else frames)
    ]
    for i in chosen or [free[int(rng.integers(len(free)))]]:
        is_step = space.genes[i].role == "size" and rng.random() < steps
        change = _stepped if is_step else _redrawn
        child[i] = change(child[i], len(space.genes[i].choices), rng)
    return tuple(child)


def _redrawn(choice: int, count: int, rng: np.random.Generator) -> int:
    other = int(rng.integers(count - 1))
    return other + (other >= choice)


def _stepped(choice: int, count: int, rng: np.random.Generator) -> int:
    near = [other for other in (choice - 1, choice + 1) if 0 <= other < count]
    return near[int(rng.integers(len(near)))]


def crossed(
    space: SearchSpace, one: Sequence[int], other: Sequence[int], rng: np.random.Generator
) -> Genome:
    """Take each gene from either parent."""
    from_one = rng.random(len(space.genes)) < 0.5
    return tuple(a if first else b for a, b, first in zip(one, other, from_one, strict=True))


def modules(space: SearchSpace) -> list[list[int]]:
    """Part the genes into modules: those that act on the same methods belong together."""
    groups: list[tuple[set[str], list[int]]] = []
    for index, gene in enumerate(space.genes):
        methods, members = {space.slots[column].method for _, column in gene.cells}, [index]
        apart = []
        for known, others in groups:
            if known & methods:
                methods, members = known | methods, others + members
            else:
                apart.append((known, others))
        groups = [*apart, (methods, members)]
    return sorted(sorted(members) for _, members in groups)


def has_depths(space: SearchSpace) -> bool:
    """Whether anything can be changed by ``mutated_depths``."""
    return any(gene.role in _DEPTHS for gene in space.genes)


def mutated_depths(
    space: SearchSpace,
    genome: Sequence[int],
    rng: np.random.Generator,
    *,
    module: float = 0.2,
    depth: float = 0.4,
) -> Genome:
    """Redraw the depths of modules; nothing may change, as in NOAH's released code.

    Each module is taken with the probability ``module``, and its depth redrawn with ``depth``.
    """
    child = list(genome)
    for members in modules(space):
        if rng.random() >= module or rng.random() >= depth:
            continue
        for i in members:
            if space.genes[i].role in _DEPTHS:
                _deepen(space, child, i, int(rng.integers(len(space.genes[i].choices))), rng)
    return tuple(child)


def _deepen(
    space: SearchSpace, child: list[int], index: int, choice: int, rng: np.random.Generator
) -> None:
    """Set a depth, and draw the sizes of what comes in with it."""
    gene = space.genes[index]
    entering = set(gene.off(child[index])) - set(gene.off(choice))
    child[index] = choice
    for i, other in enumerate(space.genes):
        if other.role == "size" and entering.intersection(other.cells):
            child[i] = int(rng.integers(len(other.choices)))


def crossed_modules(
    space: SearchSpace, one: Sequence[int], other: Sequence[int], rng: np.random.Generator
) -> Genome:
    """Take each module whole from either parent."""
    child = list(one)
    for members in modules(space):
        if rng.random() < 0.5:
            for i in members:
                child[i] = other[i]
    return tuple(child)


def mutated_rates(rates: Rates, rng: np.random.Generator, *, spread: float = 0.5) -> Rates:
    """Multiply each rate by a log-normal factor; ``spread`` is its deviation in powers of e."""
    return {
        method: _within(method, rate * float(np.exp(spread * rng.standard_normal())))
        for method, rate in rates.items()
    }


def crossed_rates(one: Rates, other: Rates, rng: np.random.Generator) -> Rates:
    """Take each rate from either parent that has it."""
    both = {}
    for method in sorted({*one, *other}):
        first, second = (one, other) if rng.random() < 0.5 else (other, one)
        both[method] = first.get(method, second.get(method, 0.0))
    return both


def rates_for(methods: Sequence[str], inherited: Rates, rng: np.random.Generator) -> Rates:
    """Return a rate for each method that is there: a parent's, or one that is drawn."""
    return {method: inherited.get(method) or drawn_rate(method, rng) for method in methods}


def _within(method: str, rate: float) -> float:
    known = METHODS[method].rates
    return rounded(min(known.high, max(known.low, rate)))
