"""The measured trials as parents of new ones."""

from collections.abc import Sequence
from dataclasses import dataclass

from autopeft.search_spaces.sampling import Genome
from autopeft.search_spaces.space import SearchSpace
from autopeft.strategies.breeding.operators import Rates, genome_of
from autopeft.strategies.memory import Memory, Point, lifted, places
from autopeft.study import Study
from autopeft.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """A genome with its learning rates, and what it is worth in each objective."""

    genome: Genome
    rates: Rates
    point: Point


class Parents:
    """Translates trials; each configuration is looked up in the space once."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._genomes: dict[int, Genome | None] = {}

    def of(self, memory: Memory) -> list[Parent]:
        """Return by number what was measured, where the space holds it or something close to it."""
        measured = memory.measured
        return [
            Parent(genome=genome, rates=trial.proposal.recipe.learning_rates, point=point)
            for trial, point in zip(measured, lifted(self._study, measured), strict=True)
            if (genome := self._genome(self._study.space, trial)) is not None
        ]

    def _genome(self, space: SearchSpace, trial: Trial) -> Genome | None:
        if trial.number not in self._genomes:
            self._genomes[trial.number] = genome_of(space, trial.proposal.configuration)
        return self._genomes[trial.number]


def places_of(parents: Sequence[Parent]) -> list[float]:
    """Return a number for each, lower for better ones."""
    return places([parent.point for parent in parents])
