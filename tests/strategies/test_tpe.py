"""Tree-structured Parzen estimators."""

import math

import pytest

from autopeft.budget import Budget
from autopeft.strategies.baselines import BaselinesFirst
from autopeft.strategies.random import RandomStrategy
from autopeft.strategies.tpe import TpeStrategy
from autopeft.trial import Purpose
from tests.builders import SMALL_SPACE, a_measurement, a_study, a_trial
from tests.contracts.strategy import StrategyContract, drive


class TestTpeStrategy(StrategyContract):
    """TPE keeps what every strategy promises."""

    @pytest.fixture
    def build(self):
        return TpeStrategy


BEST = {"lora@attention.query": (8, 0), "lora@attention.value": (0, 4)}
"""The best sizes by block of the table below; all other slots are best absent."""


def tabled(trial):
    """End a trial with a score that is highest, 0, at BEST and a LoRA rate of 0.003."""
    table = trial.proposal.configuration.sizes
    misses = sum(
        abs(math.log2(1 + table[block][column]) - math.log2(1 + BEST.get(slot.name, (0, 0))[block]))
        for column, slot in enumerate(SMALL_SPACE.slots)
        for block in (0, 1)
    )
    rate = trial.proposal.recipe.learning_rates.get("lora", 1e-4)
    return trial.done(a_measurement(-misses - 2 * abs(math.log10(rate / 0.003))))


@pytest.mark.slow
def test_tpe_finds_better_configurations_than_random_search_does():
    """The mean best of 8 seeds and 40 trials, on a table whose best score is 0.

    The margin of 0.5 is one rung of one size's ladder in half of the searches.
    """

    def mean_best(build) -> float:
        bests = [
            max(
                trial.score
                for trial in drive(build(a_study(seed=seed, budget=Budget.parse("680"))), 40,
                                   ending=tabled)
            )
            for seed in range(8)
        ]  # fmt: skip
        return sum(bests) / len(bests)

    random, tpe = mean_best(RandomStrategy), mean_best(TpeStrategy)

    assert random + 0.5 < tpe < 0


def test_a_failure_is_learned_from_without_a_score():
    strategy = TpeStrategy(a_study())
    strategy.tell(a_trial(0, 0.5))
    strategy.tell(a_trial(1, 0.5, rate=2e-3).failed("MemoryError"))

    assert strategy.ask() is not None


def test_a_baseline_outside_the_space_is_passed_over():
    """Rank 3 is no size of the space, so there is no point in it to learn at."""
    strategy = TpeStrategy(a_study())
    before = TpeStrategy(a_study()).ask()

    strategy.tell(a_trial(0, 0.99, ranks=(3, 3), purpose=Purpose.BASELINE, label="plain LoRA"))

    assert strategy.ask() == before


def test_a_long_study_keeps_its_best_and_its_latest_trials():
    strategy = TpeStrategy(a_study())
    for number in range(500):
        strategy.tell(
            a_trial(number, 1.0 if number == 7 else number / 1000, rate=1e-4 + number / 1e5)
        )

    values = [trial.value for trial in strategy._advisor._known.values()]

    assert len(values) <= 96
    assert {1.0, 0.499} <= set(values)


def test_wrapped_in_baselines_it_learns_of_baselines_in_its_space():
    inner = TpeStrategy(a_study())
    BaselinesFirst(a_study(), inner).tell(
        a_trial(0, 0.5, purpose=Purpose.BASELINE, label="plain LoRA")
    )

    assert list(inner._advisor._known) == [0]
