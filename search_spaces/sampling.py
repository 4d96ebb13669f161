"""Drawing genomes at random, and shrinking those that are over the ceiling."""

from collections.abc import Sequence

import numpy as np

from autopeft.search_spaces.space import SearchSpace

Genome = tuple[int, ...]


def draw(space: SearchSpace, ceiling: int, rng: np.random.Generator) -> Genome:
    """Draw a non-empty genome within the ceiling.

    First the methods that may be present are drawn, one to all of them, because a configuration of
    few methods is otherwise never met in a space of many; then every gene of theirs uniformly; then
    the whole is shrunk until it fits. Where nothing is left of
    it, because the ceiling is close to the smallest configuration, one cell that fits is drawn.
    The space must hold a configuration that fits (see ``SearchSpace.must_fit``).
    """
    methods = list(dict.fromkeys(space.slots[c].method for g in space.genes for _, c in g.cells))
    drawn = rng.permutation(len(methods))[: rng.integers(1, len(methods) + 1)]
    present = {methods[index] for index in drawn}
    genome = [
        int(rng.integers(len(gene.choices)))
        if all(space.slots[column].method in present for _, column in gene.cells)
        else 0
        for gene in space.genes
    ]
    fitted = shrink(space, genome, ceiling, rng)
    if not space.decode(fitted).empty:
        return fitted
    fitting = [g for g in space.simple_genomes() if space.parameters(g) <= ceiling]
    return fitting[int(rng.integers(len(fitting)))]


def shrink(
    space: SearchSpace, genome: Sequence[int], ceiling: int, rng: np.random.Generator
) -> Genome:
    """Lower random genes to a random smaller choice until the ceiling is kept.

    A genome that fits is returned as it is. The result may be empty.
    """
    shrunk = list(genome)
    while space.parameters(shrunk) > ceiling:
        active = [index for index, choice in enumerate(shrunk) if choice > 0]
        index = active[int(rng.integers(len(active)))]
        shrunk[index] = int(rng.integers(shrunk[index]))
    return tuple(shrunk)
