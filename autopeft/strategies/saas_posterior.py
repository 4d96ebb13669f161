"""Which Gaussian processes with few relevant inputs could have given what was measured.

The sparse axis-aligned subspace prior (SAAS; Eriksson & Jankowiak 2021, arXiv 2103.00349): every
input has an inverse squared length with a half-Cauchy prior, and all share a scale that is small a
priori, so that an input counts only where the data say so. Kernel Matern-5/2, inputs in [0, 1],
outputs standardised. Priors are those of BoTorch's ``SaasFullyBayesianSingleTaskGP``; the density
and its gradient are written out here because they are cheap that way, and NUTS needs thousands.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from threadpoolctl import threadpool_limits

from autopeft.strategies.nuts import Vector, sample

Array = NDArray[np.float64]

# N trials, D inputs, S draws
LEAST_NOISE = 1e-4
_GLOBAL_SCALE = 0.1
_OUTPUT_SHAPE, _OUTPUT_RATE = 2.0, 0.15
_NOISE_SHAPE, _NOISE_RATE = 0.9, 10.0
_MOST = 50.0  # of a logarithm; beyond it numbers overflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """Draws of what a Gaussian process is made of, one a row."""

    mean_S: Array
    output_scale_S: Array
    noise_S: Array
    length_SD: Array


def draw_processes(
    inputs_ND: Array,
    outputs_N: Array,
    rng: np.random.Generator,
    *,
    warmup: int,
    samples: int,
    thinning: int,
) -> Processes:
    """Draw from the posterior by NUTS, keeping every ``thinning``-th of the samples.

    On one thread: with more, sums are taken in another order, and NUTS magnifies the difference.
    """
    density = SaasDensity(inputs_ND, outputs_N)
    with threadpool_limits(limits=1):
        found = sample(density, density.start, rng, warmup=warmup, draws=samples)[::thinning]
    scale, noise, shared = np.exp(found[:, 1:4].T)
    return Processes(
        mean_S=found[:, 0],
        output_scale_S=scale,
        noise_S=LEAST_NOISE + noise,
        length_SD=1 / np.sqrt(shared[:, None] * np.exp(found[:, 4:])),
    )


class SaasDensity:
    """The logarithm of the posterior density, and its gradient.

    Coordinates: the mean, and the logarithms of output scale, noise, shared inverse squared length
    and every input's own.
    """

    def __init__(self, inputs_ND: Array, outputs_N: Array) -> None:
        self._inputs = np.ascontiguousarray(inputs_ND, dtype=np.float64)
        self._outputs = np.asarray(outputs_N, dtype=np.float64)

    @property
    def start(self) -> Vector:
        """Where draws begin: a smooth process with little noise."""
        start = np.zeros(4 + self._inputs.shape[1])
        start[2:4] = math.log(0.05), math.log(_GLOBAL_SCALE)
        return start

    def __call__(self, place: Vector) -> tuple[float, Vector]:
        """Return log density and gradient; minus infinity where numbers overflow."""
        nothing = -math.inf, np.zeros_like(place)
        if not (np.abs(place) < _MOST).all():
            return nothing
        prior, slope = _prior(place)
        mean, (scale, noise, shared) = place[0], np.exp(place[1:4])
        weights_D = shared * np.exp(place[4:])
        correlation, falling = _matern(self._inputs, weights_D)
        covariance = scale * correlation
        covariance[np.diag_indices_from(covariance)] += noise + LEAST_NOISE
        factor, problem = lapack.dpotrf(covariance, lower=1, overwrite_a=0)
        if problem:
            return nothing
        inverse, problem = lapack.dpotri(factor, lower=1)
        if problem:
            return nothing
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        away = self._outputs - mean
        pull = inverse @ away
        value = -0.5 * float(away @ pull) - float(np.log(np.diagonal(factor)).sum())
        towards = 0.5 * (np.outer(pull, pull) - inverse)
        by_length = _by_squares(self._inputs, scale * towards * falling) * weights_D
        slope[0] += pull.sum()
        slope[1] += scale * (towards * correlation).sum()
        slope[2] += noise * np.trace(towards)
        slope[3] += by_length.sum()
        slope[4:] += by_length
        return value + prior, slope


def _matern(inputs_ND: Array, weights_D: Array) -> tuple[Array, Array]:
    """Return Matern-5/2 of weighted distances, and its slope by their squares."""
    scaled = inputs_ND * np.sqrt(weights_D)
    squares = (scaled**2).sum(1)
    distance2 = np.maximum(squares[:, None] + squares[None] - 2 * scaled @ scaled.T, 0.0)
    far = np.sqrt(5.0 * distance2)
    fading = np.exp(-far)
    return (1 + far + 5 / 3 * distance2) * fading, -5 / 6 * (1 + far) * fading


def _by_squares(inputs_ND: Array, weights_NN: Array) -> Array:
    """Sum symmetric weights times the squared differences of every input."""
    rows = weights_NN.sum(1)
    crossed: Array = (inputs_ND * (weights_NN @ inputs_ND)).sum(0)
    return np.asarray(2 * (rows @ inputs_ND**2) - 2 * crossed)


def _prior(place: Vector) -> tuple[float, Vector]:
    """Return the log prior of logarithms (with the change of variable), and its gradient."""
    slope = np.empty_like(place)
    value = -0.5 * place[0] ** 2
    slope[0] = -place[0]
    for at, shape, rate in ((1, _OUTPUT_SHAPE, _OUTPUT_RATE), (2, _NOISE_SHAPE, _NOISE_RATE)):
        value += shape * place[at] - rate * math.exp(place[at])
        slope[at] = shape - rate * math.exp(place[at])
    logs = place[3:].copy()
    logs[0] -= math.log(_GLOBAL_SCALE)
    squared = np.exp(2 * logs)
    value += float((logs - np.log1p(squared)).sum())
    slope[3:] = 1 - 2 * squared / (1 + squared)
    return float(value), slope
