"""Sparse Gaussian processes by their posterior."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from autopeft.strategies.saas_posterior import LEAST_NOISE, SaasDensity, draw_processes


def data(trials, inputs, seed=0):
    """Return inputs on a grid and an output that depends on the first alone, standardised."""
    rng = np.random.default_rng(seed)
    grid = rng.integers(0, 11, (trials, inputs)) / 10
    outputs = np.sin(4 * grid[:, 0]) + 0.05 * rng.standard_normal(trials)
    return grid, (outputs - outputs.mean()) / outputs.std()


def test_the_gradient_is_that_of_the_density():
    density, rng = SaasDensity(*data(9, 4)), np.random.default_rng(1)
    place = density.start + 0.5 * rng.standard_normal(8)

    _, slope = density(place)

    steps = 1e-6 * np.eye(8)
    measured = [(density(place + s)[0] - density(place - s)[0]) / 2e-6 for s in steps]
    np.testing.assert_allclose(slope, measured, rtol=1e-5, atol=1e-6)


def test_the_density_is_the_likelihood_times_the_priors_in_logarithms():
    """As BoTorch writes them: half-Cauchy scales, Gamma(2, 0.15) output scale, Gamma(0.9, 10)."""
    inputs, outputs = data(7, 2)
    density = SaasDensity(inputs, outputs)

    def written_out(place):
        mean, (scale, noise, shared), own = place[0], np.exp(place[1:4]), np.exp(place[4:])
        gaps = ((inputs[:, None] - inputs[None]) ** 2 * shared * own).sum(-1)
        far = np.sqrt(5 * gaps)
        covariance = scale * (1 + far + 5 / 3 * gaps) * np.exp(-far)
        covariance += (noise + LEAST_NOISE) * np.eye(7)
        value = multivariate_normal(np.full(7, mean), covariance).logpdf(outputs)
        value += -0.5 * mean**2 + np.log(scale) - 0.15 * scale - 0.1 * np.log(noise) - 10 * noise
        value -= np.log1p((shared / 0.1) ** 2) + np.log1p(own**2).sum()
        return value + place[1:].sum()  # the change of variable

    one, other = density.start, density.start + np.linspace(-0.5, 0.5, 6)

    gained = density(other)[0] - density(one)[0]

    assert gained == pytest.approx(written_out(other) - written_out(one), rel=1e-9)


def test_numbers_that_overflow_have_no_density():
    density = SaasDensity(*data(5, 2))

    for value in (1e3, np.nan, np.inf):
        place = density.start
        place[1] = value
        assert density(place)[0] == -np.inf


def test_the_input_that_matters_is_found_among_many():
    inputs, outputs = data(30, 12)

    drawn = draw_processes(
        inputs, outputs, np.random.default_rng(0), warmup=64, samples=32, thinning=4
    )

    lengths = np.median(drawn.length_SD, axis=0)
    assert drawn.length_SD.shape == (8, 12)
    assert lengths.argmin() == 0
    assert 3 * lengths[0] < np.median(lengths[1:])
