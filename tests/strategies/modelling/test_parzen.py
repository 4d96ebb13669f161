"""Optuna's Parzen estimator for whole numbers of few choices."""

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator

from autopeft.strategies.modelling.parzen import Parzen

SPACE = {f"size {n}": IntDistribution(0, n) for n in (1, 2, 4, 7)} | {
    "rate": FloatDistribution(1e-5, 1e-1, log=True)
}
PARAMETERS = optuna.samplers.TPESampler(seed=0)._parzen_estimator_parameters


def drawn(count, seed, space=SPACE):
    rng = np.random.default_rng(seed)
    return {
        name: rng.integers(0, d.high + 1, size=count).astype(float)
        if isinstance(d, IntDistribution)
        else np.exp(rng.uniform(np.log(d.low), np.log(d.high), size=count))
        for name, d in space.items()
    }


@pytest.mark.parametrize("known", [0, 1, 2, 3, 10, 120])
@pytest.mark.parametrize("weights", [None, "ones"])
def test_its_densities_are_those_of_optuna(known, weights):
    seen, asked = drawn(known, 1), drawn(200, 2)
    given = None if weights is None else np.ones(known)

    found = Parzen(seen, SPACE, PARAMETERS, given).log_pdf(asked)

    theirs = _ParzenEstimator(seen, SPACE, PARAMETERS, given).log_pdf(asked)
    np.testing.assert_allclose(found, theirs, rtol=1e-9)


@pytest.mark.parametrize("names", [["rate"], ["size 1", "size 7"]])
def test_dimensions_of_one_kind_alone_will_do(names):
    space = {name: SPACE[name] for name in names}
    seen, asked = drawn(9, 1, space), drawn(50, 2, space)

    theirs = _ParzenEstimator(seen, space, PARAMETERS).log_pdf(asked)

    np.testing.assert_allclose(Parzen(seen, space, PARAMETERS).log_pdf(asked), theirs, rtol=1e-9)


def test_what_it_draws_lies_in_the_space_and_is_as_frequent_as_its_density_says():
    estimator = Parzen(drawn(6, 1), SPACE, PARAMETERS)
    alone = Parzen({"size 4": drawn(6, 1)["size 4"]}, {"size 4": SPACE["size 4"]}, PARAMETERS)

    found = estimator.sample(np.random.RandomState(0), 20_000)

    for name, distribution in SPACE.items():
        assert distribution.low <= found[name].min() < found[name].max() <= distribution.high
    shares = [np.mean(found["size 4"] == choice) for choice in range(5)]
    expected = np.exp(alone.log_pdf({"size 4": np.arange(5.0)}))
    np.testing.assert_allclose(shares, expected, atol=0.015)  # four standard errors


def test_tpe_asks_it_and_optuna_still_lets_it():
    """The attribute is private to Optuna: a version without it must not pass unseen."""
    assert hasattr(optuna.samplers.TPESampler(seed=0), "_parzen_estimator_cls")
