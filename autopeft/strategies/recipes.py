"""Learning rates for a configuration: each method that is present has one of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from autopeft.search_spaces.catalog import METHODS
from autopeft.trial import Recipe


def default_recipe(base: Recipe, methods: Sequence[str]) -> Recipe:
    """Give every method the rate it starts from."""
    return replace(base, learning_rates={m: METHODS[m].rates.default for m in methods})


def drawn_rate(method: str, rng: np.random.Generator) -> float:
    """Draw a rate uniformly on the logarithmic scale of the method's range."""
    rates = METHODS[method].rates
    return rounded(float(np.exp(rng.uniform(np.log(rates.low), np.log(rates.high)))))


def with_rates(base: Recipe, methods: Sequence[str], rates: Mapping[str, float]) -> Recipe:
    """Take over the rates of the methods that are present, and no other."""
    return replace(base, learning_rates={m: rounded(rates[m]) for m in methods})


def rounded(rate: float) -> float:
    """Round to three digits: finer differences mean nothing, and recipes stay readable."""
    return float(f"{rate:.3g}")
