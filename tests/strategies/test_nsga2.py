"""NSGA-II."""

from dataclasses import replace

import numpy as np
import pytest

from autopeft.objectives import hypervolume, values
from autopeft.strategies.evolution import EvolutionStrategy
from autopeft.strategies.nsga2 import Nsga2Strategy, crowding, survivors, tournament
from autopeft.strategies.random import RandomStrategy
from tests.builders import a_study
from tests.contracts.known_optimum import InheritedTable, KnownOptimumContract, tabled
from tests.contracts.strategy import StrategyContract, drive


class TestNsga2Strategy(StrategyContract, KnownOptimumContract):
    """It keeps what every strategy promises, and finds a known optimum."""

    @pytest.fixture
    def build(self):
        return Nsga2Strategy


def test_the_ends_of_a_front_are_never_crowded_and_the_middle_by_its_neighbours():
    """The second lies between (0, 4) and (3, 1) on ranges of 4: 3/4 + 3/4."""
    points = np.array([(0.0, 4.0), (1.0, 3.0), (3.0, 1.0), (4.0, 0.0)])

    assert crowding(points).tolist() == [np.inf, 1.5, 1.5, np.inf]


def test_equal_points_are_crowded_without_a_division_by_nothing():
    assert crowding(np.ones((3, 2))).tolist() == [np.inf, 0.0, np.inf]


def test_survivors_are_ordered_by_rank_and_then_by_the_room_around_them():
    points = [(2.0, 2.0), (0.0, 0.0), (4.0, 0.0), (0.0, 4.0), (2.1, 1.9), (1.0, 3.0)]

    order = survivors(points)

    assert order[:2] == [2, 3]
    assert order[-1] == 1


def test_parents_are_among_the_survivors():
    rng = np.random.default_rng(0)
    points = [(float(i),) for i in range(40)]

    chosen = {place for _ in range(200) for place in tournament(points, rng)}

    assert chosen == {34, 35, 36, 37, 38, 39}


@pytest.mark.slow
def test_it_covers_more_of_a_front_than_random_search_does():
    """Score against parameters: the mean volume over 12 seeds and 60 trials, in doublings · share.

    The margin of a tenth is above twice the standard error of the difference, which is about 4%.
    """

    def volume(build) -> float:
        found = []
        for seed in range(12):
            study = a_study(seed=seed, objectives=("score", "params"))
            trials = drive(build(study), 60, ending=tabled)
            points = [values(study, trial) for trial in trials]
            found.append(hypervolume(points, (-12.0, -400.0)))
        return float(np.mean(found))

    assert volume(Nsga2Strategy) > 1.1 * volume(RandomStrategy)


def test_with_one_objective_the_best_trials_breed():
    study = a_study()
    known = drive(RandomStrategy(study), 30, ending=tabled)
    best = max(known, key=lambda trial: trial.score)
    strategy = Nsga2Strategy(study)
    for trial in known:
        strategy.tell(replace(trial))

    proposals = [strategy.ask() for _ in range(20)]

    def differences(proposal) -> int:
        cells = zip(proposal.configuration.sizes, best.proposal.configuration.sizes, strict=True)
        return sum(a != b for one, other in cells for a, b in zip(one, other, strict=True))

    near = sorted(differences(proposal) for proposal in proposals)
    assert near[0] <= 1
    assert np.mean(near) < np.mean([differences(trial.proposal) for trial in known])


@pytest.mark.parametrize(("objectives", "same"), [(("score",), True), (("score", "params"), False)])
def test_it_differs_from_evolution_on_measured_scores_where_there_is_a_front(objectives, same):
    """With one objective both breed from the six best by the same operators, as the docs say."""
    study = a_study(objectives=objectives)
    both = Nsga2Strategy(study), EvolutionStrategy(study, InheritedTable(problem="no weights"))

    one, other = ([t.proposal for t in drive(each, 30, ending=tabled)] for each in both)

    assert (one == other) is same
