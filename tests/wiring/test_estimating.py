"""What a search will cost, in whole trainings and in seconds."""

from dataclasses import replace

import pytest

from autopeft.study import Limits
from autopeft.training.estimate import Estimate
from autopeft.trial import Recipe
from autopeft.wiring.estimating import document_of, trainings_of
from tests.builders import SMALL_SPACE, TASK, a_study


def a_guided(train=3_000, validation=1_000, **changes):
    task = replace(TASK, examples=(train, validation, 100))
    return a_study(
        task=task, strategy="evolution", options={"evaluations": "60"}, finals=0,
        recipe=Recipe(epochs=1), **changes,
    )  # fmt: skip


def scoring_of(study):
    """Return what 60 inherited scores cost: the supernet is 2.3 trainings."""
    return trainings_of(study, Limits(trials=0)) - 2.3


def test_a_score_costs_a_twentieth_of_a_training_however_large_the_validation_part():
    """450 of 1,000 examples are a twentieth of 3,000 at three passes each."""
    assert scoring_of(a_guided()) == pytest.approx(60 / 20)
    assert scoring_of(a_guided(validation=10**6)) == pytest.approx(60 / 20)


def test_a_small_validation_part_costs_less():
    assert scoring_of(a_guided(validation=100)) == pytest.approx(60 * 100 / 3 / 3_000)


def test_of_little_data_at_least_64_examples_are_scored():
    assert scoring_of(a_guided(train=100)) == pytest.approx(60 * 64 / 3 / 100)


def test_a_space_too_small_for_a_supernet_costs_none():
    space = replace(SMALL_SPACE, genes=SMALL_SPACE.genes[:1])
    study = a_guided(space=space)

    assert space.size <= 6
    assert trainings_of(study, Limits(trials=0)) == 0


def test_the_default_strategy_looks_up_scores_for_every_proposal():
    study = replace(a_guided(), strategy="autopeft")

    more = [trainings_of(study, Limits(trials=trials)) for trials in (10, 11)]

    assert more[1] - more[0] == pytest.approx(1 + 1 / 20)


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.012345, 0.0123), (7.0, 7.0), (71.96, 72.0), (1234.567, 1234.6)]
)
def test_seconds_are_told_with_as_many_digits_as_say_something(seconds, told):
    cost = Estimate(seconds=seconds, steps=3, tokens=5.0, memory=10**9, examples=32)

    document = document_of(a_study(), Limits(trials=3), 1, cost)

    assert document["seconds_per_trial"] == told
