"""First points from earlier studies."""

from dataclasses import replace

import pytest

from autopeft.search_spaces.catalog import METHODS
from autopeft.strategies.random import RandomStrategy
from autopeft.strategies.s4 import S4Strategy
from autopeft.strategies.tpe import TpeStrategy
from autopeft.strategies.warm_start import Point, WarmStart
from autopeft.trial import Purpose, Trial
from tests.builders import ONE_CONFIGURATION, SMALL_SPACE, a_measurement, a_proposal, a_study
from tests.contracts.strategy import StrategyContract, drive, proposals


def point(*ranks: int, **rates: float) -> Point:
    return Point(
        configuration=a_proposal(*ranks).configuration,
        learning_rates=rates or {"lora": 2e-3},
        study="0123456789ab",
        trial=4,
    )


POINTS = (point(1, 2), point(4, 0), point(0, 8))


def around(inner, *points: Point):
    """Build the wrapper around a strategy, with points where the study's space has them."""
    return lambda study: WarmStart(
        study, inner(study), points if study.space.name == SMALL_SPACE.name else ()
    )


class TestWarmStartAroundRandom(StrategyContract):
    """Around random search it keeps what every strategy promises."""

    @pytest.fixture
    def build(self):
        return around(RandomStrategy, *POINTS)


class TestWarmStartAroundTpe(StrategyContract):
    """Around TPE it keeps what every strategy promises."""

    @pytest.fixture
    def build(self):
        return around(TpeStrategy, *POINTS)


def test_points_come_first_in_their_order_with_their_rates():
    study = a_study(seed=7)
    strategy = around(RandomStrategy, *POINTS)(study)

    asked = [strategy.ask() for _ in range(3)]

    assert [p.configuration for p in asked] == [p.configuration for p in POINTS]
    assert [dict(p.recipe.learning_rates) for p in asked] == [{"lora": 2e-3}] * 3
    assert {p.purpose for p in asked} == {Purpose.SEARCH}
    assert {p.seed for p in asked} == {7}
    assert asked[0].recipe.scales == study.recipe.scales


def test_afterwards_it_proposes_what_the_strategy_does():
    study = a_study()
    strategy = around(S4Strategy, *POINTS)(study)
    trials = drive(strategy, 3)
    inner = S4Strategy(study)
    for trial in trials:
        inner.tell(trial)

    assert strategy.ask() == inner.ask()


def test_the_strategy_learns_from_points_as_from_its_own_trials():
    told = []

    class Telling(RandomStrategy):
        def tell(self, trial: Trial) -> None:
            told.append(trial)
            super().tell(trial)

    study = a_study()
    trials = drive(around(Telling, *POINTS)(study), 5)

    assert told == trials


def test_a_point_that_runs_does_not_change_what_the_strategy_draws():
    """Two workers: the strategy's first draw is the same whether the search was resumed or not."""
    study = a_study()
    strategy = around(RandomStrategy, POINTS[0])(study)
    running = Trial(number=0, proposal=strategy.ask()).started()
    resumed = around(RandomStrategy, POINTS[0])(study)
    resumed.tell(running)

    assert strategy.ask() == resumed.ask()


def test_a_point_that_the_strategy_comes_upon_is_not_proposed_twice():
    study = a_study()
    first = RandomStrategy(study).ask()
    same = Point(
        configuration=first.configuration, learning_rates=first.recipe.learning_rates,
        study="0123456789ab", trial=0,
    )  # fmt: skip
    strategy = around(RandomStrategy, same)(study)

    keys = [strategy.ask().key for _ in range(4)]

    assert keys[0] == first.key
    assert len(set(keys)) == 4


def test_a_point_that_was_a_baseline_is_left_out():
    study = a_study()
    strategy = around(RandomStrategy, *POINTS)(study)
    other = around(RandomStrategy, *POINTS)(study)
    first = other.ask()

    baseline = replace(first, purpose=Purpose.BASELINE, label="plain LoRA")
    strategy.tell(Trial(number=0, proposal=baseline).started().done(a_measurement()))

    assert strategy.ask().configuration == POINTS[1].configuration


def test_a_rate_that_is_unknown_or_out_of_range_is_mended():
    rates = METHODS["lora"].rates
    strategy = around(RandomStrategy, point(1, 1, vera=1e-3), point(2, 2, lora=5.0))(a_study())

    asked = [strategy.ask() for _ in range(2)]

    assert [dict(p.recipe.learning_rates) for p in asked] == [
        {"lora": rates.default}, {"lora": rates.high},
    ]  # fmt: skip


def test_a_point_over_the_budget_is_left_out():
    """Rank 16 in both blocks trains 512 parameters, and 400 are allowed."""
    strategy = around(RandomStrategy, point(16, 16), POINTS[0])(a_study())

    assert strategy.ask().configuration == POINTS[0].configuration


def test_without_points_it_is_the_strategy_itself():
    study = a_study(space=ONE_CONFIGURATION)

    trials = drive(around(RandomStrategy)(study), 5)

    assert proposals(trials) == proposals(drive(RandomStrategy(study), 5))
