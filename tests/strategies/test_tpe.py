"""Tree-structured Parzen estimators."""

import pytest

from autopeft.strategies.baselines import BaselinesFirst
from autopeft.strategies.tpe import TpeStrategy
from autopeft.trial import Purpose
from tests.builders import a_study, a_trial
from tests.contracts.known_optimum import KnownOptimumContract
from tests.contracts.strategy import HALVED, StrategyContract, drive, paused, promoted


class TestTpeStrategy(StrategyContract, KnownOptimumContract):
    """TPE keeps what every strategy promises, and finds a known optimum."""

    MARGIN = 2.0

    @pytest.fixture
    def build(self):
        return TpeStrategy


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


def test_a_long_study_is_learned_from_by_its_best_and_its_latest_trials():
    strategy = TpeStrategy(a_study())
    for number in range(500):
        strategy.tell(
            a_trial(number, 1.0 if number == 7 else number / 1000, rate=1e-4 + number / 1e5)
        )

    values = [trial.value for trial in strategy._learned()]

    assert len(values) <= 96
    assert {1.0, 0.499} <= set(values)


def test_wrapped_in_baselines_it_learns_of_baselines_in_its_space():
    inner = TpeStrategy(a_study())
    BaselinesFirst(a_study(), inner).tell(
        a_trial(0, 0.5, purpose=Purpose.BASELINE, label="plain LoRA")
    )

    assert [trial.value for trial in inner._learned()] == [0.5]


def test_a_trial_that_pauses_is_pruned_to_optuna_with_its_value_in_between():
    strategy = TpeStrategy(a_study(rungs=HALVED))
    known = drive(TpeStrategy(a_study(rungs=HALVED)), 3, ending=paused)
    for trial in (*known, promoted(known[1]), known[2].promoted(1.0).started().failed("oh")):
        strategy.tell(trial)

    learned = strategy._learned()

    assert [trial.state.name for trial in learned] == ["PRUNED", "COMPLETE", "PRUNED"]
    assert learned[0].intermediate_values == {3333: known[0].score}
    assert learned[2].intermediate_values == {}


def test_with_several_objectives_a_trial_that_pauses_counts_as_if_trained_to_the_end():
    study = a_study(rungs=HALVED, objectives=("score", "params"))
    strategy = TpeStrategy(study)
    known = drive(TpeStrategy(study), 3, ending=paused)
    for trial in (*known, promoted(known[1])):
        strategy.tell(trial)
    gain = promoted(known[1]).score - known[1].score

    learned = strategy._learned()

    assert [trial.state.name for trial in learned] == ["COMPLETE"] * 3
    assert learned[0].values == pytest.approx([known[0].score + gain, -32.0])


def test_while_trials_are_only_added_optuna_is_told_of_the_new_ones_alone():
    strategy = TpeStrategy(a_study())
    drive(strategy, 8)
    before = strategy._advisor._study

    strategy.ask()

    assert strategy._advisor._study is before
