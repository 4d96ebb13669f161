"""Random search."""

import pytest

from autopeft.strategies.random import RandomStrategy
from tests.builders import a_study
from tests.contracts.strategy import StrategyContract, drive, failed, proposals


class TestRandomStrategy(StrategyContract):
    """Random search keeps what every strategy promises."""

    @pytest.fixture
    def build(self):
        return RandomStrategy


def test_scores_make_no_difference():
    study = a_study()

    unlucky = drive(RandomStrategy(study), 8, ending=failed)

    assert proposals(unlucky) == proposals(drive(RandomStrategy(study), 8))


def test_rates_spread_over_the_decades_of_their_range():
    """Uniform on the logarithmic scale: about half of the draws of 1e-4 to 1e-2 are below 1e-3."""
    trials = drive(RandomStrategy(a_study()), 100)

    rates = [rate for t in trials for rate in t.proposal.recipe.learning_rates.values()]
    low = sum(rate < 1e-3 for rate in rates) / len(rates)
    assert 0.35 < low < 0.65  # four standard deviations of a share of 100 fair draws are 0.2
    assert all(float(f"{rate:.3g}") == rate for rate in rates)
