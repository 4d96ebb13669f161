"""Learning rates for a configuration."""

import numpy as np
import pytest

from autopeft.search_spaces.catalog import METHODS
from autopeft.strategies.recipes import default_recipe, drawn_rate, rounded, with_rates
from autopeft.trial import Recipe


def test_only_the_methods_that_are_present_get_a_rate():
    recipe = with_rates(Recipe(epochs=7), ["prefix"], {"lora": 1e-3, "prefix": 0.0123456})

    assert recipe == Recipe(epochs=7, learning_rates={"prefix": 0.0123})


def test_every_method_has_a_rate_to_start_from_within_its_range():
    rates = default_recipe(Recipe(), list(METHODS)).learning_rates

    assert set(rates) == set(METHODS)
    for name, method in METHODS.items():
        assert method.rates.low < rates[name] < method.rates.high


@pytest.mark.parametrize("method", list(METHODS))
def test_a_drawn_rate_is_within_the_range_of_its_method(method):
    rng, rates = np.random.default_rng(0), METHODS[method].rates

    drawn = [drawn_rate(method, rng) for _ in range(200)]

    assert rates.low <= min(drawn) < rates.default < max(drawn) <= rates.high


def test_rates_are_rounded_to_three_digits():
    assert [rounded(rate) for rate in (0.00123456, 9.999e-4, 0.5)] == [0.00123, 0.001, 0.5]
