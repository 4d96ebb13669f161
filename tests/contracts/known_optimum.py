"""A table with a known best configuration, to hold strategies against random search.

The score of a trial is 0 at one configuration of the small space with one learning rate for each of
its methods, and less everywhere else: each cell loses its distance to the best size in doublings,
two pairs of cells lose more when both are wrong, and each rate its distance in factors of ten. What
is inherited is this score without the rates, in other units and with a fixed error for each
configuration, as a supernet would give it; what structures say is what each choice loses by itself,
with errors too, as gates would find it.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from autopeft.budget import Budget
from autopeft.ports import Strategy
from autopeft.search_spaces.configuration import Configuration
from autopeft.strategies.random import RandomStrategy
from autopeft.study import Study
from autopeft.supernet.gating.structures import Filling
from autopeft.trial import Trial
from tests.builders import SMALL_SPACE, a_measurement, a_study
from tests.contracts.strategy import drive

BEST = {
    "lora@attention.query": (8, 0),
    "lora@attention.value": (0, 4),
    "serial_adapter@ffn.norm": (0, 2),
}
"""The best size in each of the two blocks: 242 of the 400 parameters that the study allows."""
RATES = {"lora": 3e-3, "serial_adapter": 5e-4}
PAIRS = (
    (("lora@attention.query", 0), ("lora@attention.value", 1)),
    (("lora@attention.value", 0), ("serial_adapter@ffn.norm", 1)),
)


def misses(table: Configuration) -> float:
    """Return what a configuration loses against the best one."""
    off: dict[tuple[str, int], float] = defaultdict(float)
    for block, row in enumerate(table.sizes):
        for slot, size in zip(SMALL_SPACE.slots, row, strict=False):
            best = BEST.get(slot.name, (0, 0))[block % 2]  # other spaces have more blocks
            off[slot.name, block] = abs(math.log2(1 + size) - math.log2(1 + best))
    return sum(off.values()) + 0.5 * sum(off[one] * off[other] for one, other in PAIRS)


def tabled(trial: Trial) -> Trial:
    """End a trial with the score of the table."""
    rates = trial.proposal.recipe.learning_rates
    lost = sum(abs(math.log10(rates.get(method, 1.0) / best)) for method, best in RATES.items())
    score = -misses(trial.proposal.configuration) - min(lost, 4.0)
    parameters = trial.proposal.configuration.parameters(SMALL_SPACE.slots)
    return trial.done(a_measurement(score, parameters))


@dataclass(frozen=True, slots=True, kw_only=True)
class InheritedTable:
    """Fills the socket `Inheritance` from the table; ``noise`` is the spread of its errors."""

    noise: float = 0.5
    problem: str = ""

    def prepare(self) -> Iterator[float]:
        yield 1.0

    def scores(self, configurations: Sequence[Configuration]) -> Iterator[float]:
        for configuration in [] if self.problem else configurations:
            digest = hashlib.sha256(repr(configuration.sizes).encode()).digest()
            error = int.from_bytes(digest[:4], "big") / 2**31 - 1
            yield 0.9 - 0.02 * (misses(configuration) + self.noise * 3**0.5 * error)


@dataclass(frozen=True, slots=True, kw_only=True)
class StructuresOfTable:
    """Fills the socket `Structures` from the table; ``noise`` is the spread of its errors."""

    study: Study
    noise: float = 1.0
    problem: str = ""

    def prepare(self) -> Iterator[float]:
        yield 1.0

    def chances(self) -> tuple[tuple[float, ...], ...]:
        rng, found = np.random.default_rng([self.study.seed, 77]), []
        for gene in self.study.space.genes:
            [(block, column)] = gene.cells
            best = BEST[SMALL_SPACE.slots[column].name][block]
            lost = [abs(math.log2(1 + size) - math.log2(1 + best)) for size in gene.choices]
            odds = np.exp(self.noise * rng.standard_normal(len(lost)) - lost)
            found.append(tuple(map(float, odds / odds.sum())))
        return tuple(found)

    def found(self) -> tuple[Configuration, ...]:
        """Return what is likeliest, the surest genes first, as far as it fits."""
        space, chances = self.study.space, self.chances()
        order = sorted(range(len(chances)), key=lambda g: chances[g][0])
        genome = Filling(space, self.study.ceiling).fill(
            (g, int(np.argmax(chances[g]))) for g in order
        )
        return (space.decode(genome),)


class KnownOptimumContract:
    """What every strategy that learns promises; a subclass gives `build`, as in the contract.

    The claim is about the mean over a fixed set of seeds of the best score among the first trials.
    Seeds are fixed, so that it cannot fail by chance; ``MARGIN`` is by how much a strategy beats
    random search at least, in doublings of one size. With 16 seeds the standard error of a
    difference of such means is about 0.3, so a margin of 0.6 is no accident of the seeds chosen;
    with four it is 0.6, which is enough for a margin of 2.

    ``BUDGET`` is the study's: a strategy that always fills it can only find an optimum that does.
    """

    TRIALS = 40
    SEEDS = 16
    MARGIN = 0.6
    BUDGET = "400"

    @pytest.mark.slow
    def test_it_comes_nearer_to_a_known_optimum_than_random_search(
        self, build: Callable[[Study], Strategy]
    ) -> None:
        found = mean_best(build, self.SEEDS, self.TRIALS, self.BUDGET)

        by_chance = best_of_random(self.SEEDS, self.TRIALS, self.BUDGET)
        assert by_chance + self.MARGIN < found <= 0


def mean_best(build: Callable[[Study], Strategy], seeds: int, trials: int, budget: str) -> float:
    """Return the mean over seeds of the best score among the first trials."""
    studies = [a_study(seed=seed, budget=Budget.parse(budget)) for seed in range(seeds)]
    bests = [
        max(trial.score for trial in drive(build(study), trials, ending=tabled))
        for study in studies
    ]
    return sum(bests) / len(bests)


@cache
def best_of_random(seeds: int, trials: int, budget: str) -> float:
    return mean_best(RandomStrategy, seeds, trials, budget)
