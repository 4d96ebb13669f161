"""Candidates of ``saasbo``: where they lie for a Gaussian process, and what lies beside them."""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.sampling import Genome, Sampler
from autopeft.strategies.breeding.operators import genome_of, mutated_rates, rates_for
from autopeft.strategies.recipes import with_rates
from autopeft.study import Study
from autopeft.trial import Proposal

_UNORDERED = frozenset({"pick", "pattern", "allocation"})
_RATE_CHANGES = 0.3
"""The share of changes that change a learning rate; the paper searches over none."""
_RATE_SPREAD = 0.7
"""The deviation of such a change in powers of e: a factor of two."""

# N candidates, D coordinates


@dataclass(frozen=True, slots=True)
class Candidate:
    """A proposal, and its genome; of a baseline outside the space, the nearest genome."""

    genome: Genome
    proposal: Proposal

    @property
    def key(self) -> Hashable:
        """What makes two candidates the same."""
        return self.proposal.key


class Candidates:
    """Draws candidates within the budget, changes them, and gives their coordinates.

    A gene whose choices are ordered is one coordinate in [0, 1]; a pick, a layer pattern or an
    allocation is one for each choice. Then come the learning rates, on the logarithmic scale of
    each method's range, half-way where the method is absent.
    """

    def __init__(self, study: Study) -> None:
        self._study, self._space = study, study.space
        self._sampler = Sampler(study.space, study.ceiling)
        self._counter = study.space.counter()
        self._free = [i for i, gene in enumerate(study.space.genes) if len(gene.choices) > 1]

    def of(self, proposal: Proposal) -> Candidate | None:
        """Find where a proposal lies; None where the space has no genome near it."""
        genome = genome_of(self._space, proposal.configuration)
        return None if genome is None else Candidate(tuple(genome), proposal)

    def drawn(self, rng: np.random.Generator) -> Candidate:
        """Draw a genome and rates."""
        return self._built(self._sampler.draw(rng), {}, rng)

    def beside(self, candidate: Candidate, rng: np.random.Generator) -> Candidate | None:
        """Change one gene or one rate; None where that leaves nothing, or changes nothing.

        What is over the budget then is shrunk until it fits, and so has changed in several genes:
        at a tight budget a single change rarely leads anywhere.
        """
        found = self._changed(candidate, rng)
        return None if found is None or found.key == candidate.key else found

    def _changed(self, candidate: Candidate, rng: np.random.Generator) -> Candidate | None:
        rates = candidate.proposal.recipe.learning_rates
        if not self._free or rng.random() < _RATE_CHANGES:
            method = list(rates)[int(rng.integers(len(rates)))]
            moved = mutated_rates({method: rates[method]}, rng, spread=_RATE_SPREAD)
            return self._built(candidate.genome, {**rates, **moved}, rng)
        index = self._free[int(rng.integers(len(self._free)))]
        changed = list(candidate.genome)
        other = int(rng.integers(len(self._space.genes[index].choices) - 1))
        changed[index] = other + (other >= changed[index])
        fitted = self._sampler.shrink(changed, rng)
        fits = 0 < self._counter.count(fitted) <= self._study.ceiling
        return self._built(fitted, rates, rng) if fits else None

    def coordinates(self, candidates: Sequence[Candidate]) -> NDArray[np.float64]:
        """Return a row for each candidate."""
        rows = [
            [*self._of_genes(c.genome), *self._of_rates(c.proposal.recipe.learning_rates)]
            for c in candidates
        ]
        return np.array(rows, dtype=np.float64)

    def _built(
        self, genome: Genome, rates: Mapping[str, float], rng: np.random.Generator
    ) -> Candidate:
        """Build what a genome stands for, and take the one genome that stands for all like it."""
        configuration = self._space.decode(genome)
        methods = configuration.methods(self._space.slots)
        recipe = with_rates(self._study.recipe, methods, rates_for(methods, rates, rng))
        proposal = Proposal(configuration=configuration, recipe=recipe, seed=self._study.seed)
        return Candidate(self._space.encode(configuration) or genome, proposal)

    def _of_genes(self, genome: Genome) -> Iterator[float]:
        for index in self._free:
            gene, choice = self._space.genes[index], genome[index]
            if gene.role in _UNORDERED:
                yield from (float(choice == other) for other in range(len(gene.choices)))
            else:
                yield choice / (len(gene.choices) - 1)

    def _of_rates(self, rates: Mapping[str, float]) -> Iterator[float]:
        for method in self._space.methods:
            known = METHODS[method].rates
            low, high = math.log(known.low), math.log(known.high)
            there = method in rates and low < high
            yield (math.log(rates[method]) - low) / (high - low) if there else 0.5
