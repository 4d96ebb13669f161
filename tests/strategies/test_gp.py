"""Gaussian processes."""

import pytest

from autopeft.strategies.gp import GpStrategy
from autopeft.strategies.random import RandomStrategy
from tests.builders import a_study
from tests.contracts.known_optimum import KnownOptimumContract, tabled
from tests.contracts.strategy import HALVED, StrategyContract, drive, paused


class TestGpStrategy(StrategyContract, KnownOptimumContract):
    """It keeps what every strategy promises, and finds a known optimum."""

    SEEDS = 8
    MARGIN = 2.0

    @pytest.fixture
    def build(self):
        return GpStrategy


def told(study, count: int, ending=tabled) -> GpStrategy:
    strategy = GpStrategy(study)
    for trial in drive(RandomStrategy(study), count, ending=ending):
        strategy.tell(trial)
    return strategy


def test_from_the_ninth_trial_on_optunas_model_is_asked():
    """It is asked by a method that Optuna does not promise to keep."""
    assert told(a_study(), 7)._modelled() is None
    assert told(a_study(), 8)._modelled() is not None


def test_a_model_of_trials_that_pause_is_asked_too():
    assert told(a_study(rungs=HALVED), 9, paused)._modelled() is not None


def test_what_is_pending_is_not_proposed_in_other_words():
    """Several workers ask before anything has ended: tables differ, not only rates."""
    strategy = told(a_study(), 12)

    proposals = [strategy.ask() for _ in range(4)]

    assert len({proposal.key for proposal in proposals}) == 4


def test_what_is_proposed_is_worth_more_than_what_is_drawn():
    """The mean score of five proposals after 30 random trials, against that of the 30."""
    study = a_study()
    random = drive(RandomStrategy(study), 30, ending=tabled)
    strategy = told(study, 30)

    found = drive(strategy, 35, known=random, ending=tabled)[30:]

    assert min(t.score for t in found) > sum(t.score for t in random) / 30
