"""A model of what a training will score, from the few that were made: a Gaussian process.

It knows three things of a trial: the configuration, its learning rates, and the share of the recipe
that was trained. Beside trials it learns from the scores that shared weights gave configurations.
In the prior

    trained    y = g(configuration, rates) + t(table) + f · (d(configuration, rates) + c) + noise
    inherited  z = a · (g(configuration, usual rates) + t(table)) + e(configuration) + own noise

g, d, e Gaussian processes with a Matern-5/2 kernel, the product of one over configurations and one
over rates; t what one table has beside what its features tell, independent of all others; f how far
training is from its end, 0 for the whole recipe and 1 at the lowest rung; c what a short training
lacks in general; a how far inherited scores go along with real ones. The
ten scales are chosen by their marginal likelihood under weak priors (Rasmussen and Williams 2006,
5.4). So both cheap kinds of knowledge count as much as they agree with whole trainings (the
autoregressive form of Kennedy and O'Hagan 2000), and an inherited score that is off is mended by
those of its neighbours, which a model that reads it as a feature of its configuration cannot do.

Axes: N what was measured, M what is asked about, S features of configurations, R of rates.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize
from scipy.stats import norm
from threadpoolctl import threadpool_limits

from autopeft.search_spaces.configuration import Configuration

Values = NDArray[np.float64]
_GROUPS = 3
_JITTER = 1e-6
_OUTLIER = 3.0
# log of: signal, length over configurations, length over rates, short-training deviation, what it
# lacks in general, noise; and of inherited scores: how far they go along, their own deviation and
# their noise; and what just one table has. All in units of the spread of scores of a kind.
_CENTRE = np.log([0.6, 0.8, 1.0, 0.2, 0.6, 0.15, 0.8, 0.3, 0.4, 0.3])
_SPREAD = np.array([1.0, 0.7, 0.7, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What is known of scores, from trials or from shared weights (``inherited_N``).

    Rates are 0 where they are the usual ones, as they are for an inherited score. Equal tables have
    equal numbers in ``tables_N``.
    """

    shapes_NS: Values
    rates_NR: Values
    short_N: Values
    inherited_N: NDArray[np.bool_]
    tables_N: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.short_N)

    def at(self, rows: Sequence[int] | NDArray[np.int64]) -> "Inputs":
        """Return some of the rows."""
        return Inputs(
            shapes_NS=self.shapes_NS[rows],
            rates_NR=self.rates_NR[rows],
            short_N=self.short_N[rows],
            inherited_N=self.inherited_N[rows],
            tables_N=self.tables_N[rows],
        )

    def whole(self) -> "Inputs":
        """Return the same trials as if they were trained to the end."""
        return replace(self, short_N=np.zeros_like(self.short_N))

    def and_then(self, other: "Inputs") -> "Inputs":
        """Return the rows of both."""
        return Inputs(
            shapes_NS=np.concatenate([self.shapes_NS, other.shapes_NS]),
            rates_NR=np.concatenate([self.rates_NR, other.rates_NR]),
            short_N=np.concatenate([self.short_N, other.short_N]),
            inherited_N=np.concatenate([self.inherited_N, other.inherited_N]),
            tables_N=np.concatenate([self.tables_N, other.tables_N]),
        )


def shape_of(configuration: Configuration) -> Values:
    """Describe a table by three numbers a column: the mean log size in each third of the blocks.

    Block by block a table has too many cells for what a few dozen trials can tell.
    """
    logs_BC = np.log2(1.0 + np.asarray(configuration.sizes, dtype=np.float64))
    thirds = np.array_split(logs_BC, min(_GROUPS, len(logs_BC)))
    found: Values = np.concatenate([third.mean(0) for third in thirds])
    return found


class Surrogate:
    """The model, fitted to what was measured; some of it at least by training."""

    def __init__(self, inputs: Inputs, scores: Sequence[float]) -> None:
        self._inputs = inputs
        given_N, inherited_N = np.asarray(scores, dtype=np.float64), inputs.inherited_N
        self._y_N = np.empty_like(given_N)
        self._mean, self._spread = 0.0, 1.0
        for kind in (inherited_N, ~inherited_N):  # trainings last: their units are those asked for
            if kind.any():
                scores_K = _without_outliers(given_N[kind])
                self._mean, self._spread = float(scores_K.mean()), float(scores_K.std()) or 1.0
                self._y_N[kind] = (scores_K - self._mean) / self._spread
        self._apart = _Apart.of(inputs, inputs)
        # beside a busy process, threads that wait for each other make this a hundred times slower
        with threadpool_limits(limits=1, user_api="blas"):
            self._logs = self._fitted()
            self._factor, self._weights_N = self._solved(self._logs)

    @property
    def agreement(self) -> float:
        """How far inherited scores go along with trainings: the share of their own spread."""
        signal, _, _, _, _, _, along, own, noise, table = np.exp(self._logs)
        shared = along * np.hypot(signal, table)
        return float(shared / np.hypot(shared, np.hypot(own, noise)))

    def predict(self, asked: Inputs) -> tuple[Values, Values]:
        """Return mean and standard deviation of the scores, noise apart, shapes ``(M,)``."""
        with threadpool_limits(limits=1, user_api="blas"):
            apart = _Apart.of(self._inputs, asked)
            cross_NM = _kernel(self._logs, self._inputs, asked, apart)
            mean_M = cross_NM.T @ self._weights_N
            half_NM = solve_triangular(self._factor[0], cross_NM, lower=True)
        variance_M = _diagonal(self._logs, asked) - (half_NM**2).sum(0)
        return (
            self._mean + self._spread * mean_M,
            self._spread * np.sqrt(np.maximum(variance_M, 1e-12)),
        )

    def expected_improvement(self, asked: Inputs) -> Values:
        """Return by how much each is expected to beat the best one, when trained to the end.

        The best is the highest mean among the trials that were measured: single scores are noisy.
        """
        trained = self._inputs.at(np.flatnonzero(~self._inputs.inherited_N))
        best = float(self.predict(trained.whole())[0].max())
        mean_M, deviation_M = self.predict(asked.whole())
        z_M = (mean_M - best) / deviation_M
        found: Values = deviation_M * (z_M * norm.cdf(z_M) + norm.pdf(z_M))
        return found

    def _fitted(self) -> Values:
        bounds = list(zip(_CENTRE - 3 * _SPREAD, _CENTRE + 3 * _SPREAD, strict=True))
        found = minimize(
            self._unlikely, _CENTRE, method="L-BFGS-B", bounds=bounds, options={"maxiter": 40}
        )
        logs: Values = found.x
        return logs

    def _unlikely(self, logs: Values) -> float:
        """Return the negative log posterior density of the scales."""
        try:
            (lower_NN, _), weights_N = self._solved(logs)
        except np.linalg.LinAlgError:
            return 1e6
        fit = 0.5 * self._y_N @ weights_N + np.log(np.diag(lower_NN)).sum()
        return float(fit + 0.5 * (((logs - _CENTRE) / _SPREAD) ** 2).sum())

    def _solved(self, logs: Values) -> tuple[tuple[Values, bool], Values]:
        inputs = self._inputs
        own_N = np.exp(2 * logs[5]) * (1.0 + inputs.short_N)
        noise_N = np.where(inputs.inherited_N, np.exp(2 * logs[8]), own_N) + _JITTER
        covariance_NN = _kernel(logs, inputs, inputs, self._apart) + np.diag(noise_N)
        factor = cho_factor(covariance_NN, lower=True)
        return (np.tril(factor[0]), True), cho_solve(factor, self._y_N)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Apart:
    """How far rows are apart, in configurations and in rates, per root of the dimensions.

    ``same_NM`` is 1 where the tables are the same, and else 0.
    """

    shapes_NM: Values
    rates_NM: Values
    same_NM: Values

    @classmethod
    def of(cls, one: Inputs, other: Inputs) -> "_Apart":
        """Measure all pairs of rows."""
        return cls(
            shapes_NM=_distances(one.shapes_NS, other.shapes_NS),
            rates_NM=_distances(one.rates_NR, other.rates_NR),
            same_NM=(one.tables_N[:, None] == other.tables_N[None]).astype(np.float64),
        )


def _kernel(logs: Values, one: Inputs, other: Inputs, apart: _Apart) -> Values:
    signal, shapes, rates, deviation, lack, _, along, own, _, table = np.exp(logs)
    shaped = _matern(apart.shapes_NM / shapes)
    alike = shaped * _matern(apart.rates_NM / rates)
    short = np.outer(one.short_N, other.short_N)
    told = np.outer(*(np.where(rows.inherited_N, along, 1.0) for rows in (one, other)))
    both = np.outer(one.inherited_N, other.inherited_N)
    found: Values = (
        (signal**2 * told + deviation**2 * short) * alike
        + table**2 * told * apart.same_NM
        + lack**2 * short
        + own**2 * both * shaped
    )
    return found


def _diagonal(logs: Values, asked: Inputs) -> Values:
    """Return the variance of what is asked about: trainings, and nothing inherited."""
    signal, _, _, deviation, lack, *_, table = np.exp(logs)
    found: Values = signal**2 + table**2 + (deviation**2 + lack**2) * asked.short_N**2
    return found


def _distances(one: Values, other: Values) -> Values:
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1)[None] - 2 * one @ other.T
    found: Values = np.sqrt(np.maximum(squares, 0.0)) / max(1.0, one.shape[1] ** 0.5)
    return found


def _matern(lengths: Values) -> Values:
    """Return the Matern-5/2 correlation at distances in units of its length."""
    scaled = 5**0.5 * lengths
    found: Values = (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
    return found


def _without_outliers(scores_N: Values) -> Values:
    """Lift what lies far below the rest: that a training failed to learn tells nothing finer."""
    middle = np.median(scores_N)
    spread = float(np.median(np.abs(scores_N - middle))) * 1.4826
    found: Values = np.maximum(scores_N, middle - _OUTLIER * spread) if spread else scores_N
    return found
