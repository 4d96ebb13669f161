"""Points as Optuna sees them."""

from copy import deepcopy

from autopeft.search_spaces.catalog import METHODS
from autopeft.strategies.modelling.points import Points
from tests.builders import MINI_LM, ONE_CONFIGURATION, SMALL_SPACE, space_on


def test_a_dimension_for_each_gene_and_for_the_rate_of_each_method():
    assert len(Points(SMALL_SPACE).distributions) == 6 + 2
    assert len(Points(space_on(MINI_LM, "unified")).distributions) == 90 + 8


def test_a_gene_without_a_choice_is_no_dimension():
    assert list(Points(ONE_CONFIGURATION).distributions) == ["learning rate of lora"]


def test_a_point_is_read_back_as_the_genome_and_the_rates_that_it_was_made_of():
    points = Points(SMALL_SPACE)
    point = points.of((0, 1, 2, 0, 3, 0), {"lora": 2e-3}, lambda m: METHODS[m].rates.default)

    assert points.genome(point) == [0, 1, 2, 0, 3, 0]
    assert points.rates(point, ["lora"]) == {"lora": 2e-3}
    usual = METHODS["serial_adapter"].rates.default
    assert points.rates(point, ["serial_adapter"]) == {"serial_adapter": usual}


def test_distributions_are_not_copied_with_every_trial():
    for distribution in Points(SMALL_SPACE).distributions.values():
        assert deepcopy(distribution) is distribution
