"""Structures for strategies to go by, without a model."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from autopeft.search_spaces.configuration import Configuration
from autopeft.search_spaces.sampling import Sampler
from autopeft.study import Study
from autopeft.supernet.gating.structures import equal_chances


@dataclass
class FakeStructures:
    """Finds a structure, and chances, that depend on the study alone."""

    study: Study
    problem: str = ""
    prepared: int = 0
    structures: tuple[Configuration, ...] | None = None
    odds: tuple[tuple[float, ...], ...] | None = None
    events: list[float] = field(default_factory=lambda: [0.5, 1.0])

    def prepare(self) -> Iterator[float]:
        self.prepared += 1
        yield from self.events

    def chances(self) -> tuple[tuple[float, ...], ...]:
        if self.odds is not None:
            return self.odds
        rng = np.random.default_rng(self.study.seed)
        draws = [rng.dirichlet(np.ones(len(gene.choices))) for gene in self.study.space.genes]
        return equal_chances(self.study.space) if self.problem else tuple(map(tuple, draws))

    def found(self) -> tuple[Configuration, ...]:
        if self.problem:
            return ()
        if self.structures is not None:
            return self.structures
        sampler = Sampler(self.study.space, self.study.ceiling)
        genome = sampler.draw(np.random.default_rng(self.study.seed))
        return (self.study.space.decode(genome),)
