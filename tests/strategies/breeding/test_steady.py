"""Breeding one child at a time."""

import numpy as np

from autopeft.search_spaces.catalog import METHODS
from autopeft.strategies.breeding.steady import SteadyState, best_of, drawn_pair
from autopeft.strategies.memory import Memory
from autopeft.strategies.random import RandomStrategy
from tests.builders import a_study
from tests.contracts.strategy import drive, failed


def first(one, other, rng):  # noqa: ARG001  # the shape of a `Breed`
    """Breed what the first parent is."""
    return one


def the_best(points, rng):  # noqa: ARG001  # the shape of a `Select`
    place = max(range(len(points)), key=lambda i: points[i][0])
    return place, place


def told(count: int, ending=None) -> tuple[Memory, list]:
    memory, study = Memory(), a_study()
    ended = {} if ending is None else {"ending": ending}
    trials = drive(RandomStrategy(study), count, **ended)
    for trial in trials:
        memory.tell(trial)
    return memory, trials


def test_until_ten_trials_have_a_score_proposals_are_drawn():
    for memory in (told(9)[0], told(20, failed)[0]):
        drawn = SteadyState(a_study(), breed=first, select=the_best).propose(memory)

        assert drawn == SteadyState(a_study(), breed=None, select=None).propose(memory)


def test_a_child_has_its_parents_genome_and_rates_near_theirs():
    memory, trials = told(12)
    best = max(trials, key=lambda trial: trial.score).proposal

    child = SteadyState(a_study(), breed=first, select=the_best).propose(memory)

    assert child.configuration == best.configuration
    assert child.key != best.key
    for method, rate in child.recipe.learning_rates.items():
        apart = abs(np.log(rate / best.recipe.learning_rates[method]))
        assert apart < 2.0  # four deviations of one mutation
        assert METHODS[method].rates.low <= rate <= METHODS[method].rates.high


def test_parents_are_the_best_by_score_with_one_objective():
    rng = np.random.default_rng(0)
    points = [(float(i),) for i in range(20)]

    chosen = {place for _ in range(100) for place in best_of(3)(points, rng)}

    assert chosen == {17, 18, 19}


def test_a_tournament_favours_who_comes_first():
    """Of three, the first wins five of nine tournaments of two, the last one of nine."""
    rng = np.random.default_rng(0)

    drawn = [place for _ in range(900) for place in drawn_pair([7, 8, 9], rng)]

    shares = [drawn.count(place) / len(drawn) for place in (7, 8, 9)]
    assert np.allclose(shares, [5 / 9, 3 / 9, 1 / 9], atol=0.05)
