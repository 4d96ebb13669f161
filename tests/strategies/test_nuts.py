"""The No-U-Turn Sampler."""

import numpy as np
import pytest

from autopeft.strategies.nuts import sample


def normal(mean, precision):
    """Return a normal density's logarithm with its gradient."""
    return lambda place: (
        -0.5 * (place - mean) @ precision @ (place - mean),
        -precision @ (place - mean),
    )


def test_draws_have_the_moments_of_a_correlated_normal():
    """Six standard errors of 1,000 draws that are worth half as many: 0.27 of a deviation."""
    rng = np.random.default_rng(0)
    root = np.array([[3.0, 0.0, 0.0], [1.0, 0.5, 0.0], [-1.0, 0.2, 0.1]])
    covariance, mean = root @ root.T, np.array([1.0, -2.0, 5.0])
    deviations = np.sqrt(np.diag(covariance))

    found = sample(
        normal(mean, np.linalg.inv(covariance)), np.zeros(3), rng, warmup=150, draws=1000
    )

    assert found.shape == (1000, 3)
    assert (np.abs(found.mean(0) - mean) < 0.27 * deviations).all()
    scaled = (np.cov(found.T) - covariance) / np.outer(deviations, deviations)
    assert np.abs(scaled).max() < 0.4


def test_the_same_seed_draws_the_same():
    density = normal(np.zeros(2), np.eye(2))

    drawn = [
        sample(density, np.ones(2), np.random.default_rng(5), warmup=20, draws=10) for _ in "ab"
    ]

    assert (drawn[0] == drawn[1]).all()


@pytest.mark.parametrize("warmup", [1, 10, 30])
def test_where_the_density_ends_draws_stay_inside(warmup):
    """An exponential: minus infinity below zero, as where numbers overflow."""

    def density(place):
        inside = bool((place > 0).all())
        return (-place.sum() if inside else -np.inf), -np.ones_like(place) * inside

    found = sample(density, np.ones(2), np.random.default_rng(0), warmup=warmup, draws=50)

    assert np.isfinite(found).all()
    assert (found > 0).all()
