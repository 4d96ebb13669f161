"""Optuna's Parzen estimator for many whole numbers of few choices, several times faster.

Optuna's own asks for the density of one dimension after the other. Here all are asked for at once,
and those of a whole number by its distance from a kernel's centre, since there are few. The
densities are the same. Optuna chooses the estimator by an attribute of its sampler and asks that it
be one of its own; that attribute is not part of its public interface.

Axes: N kernels, D dimensions, B samples, K distances; a capital W is D's part of whole numbers.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from scipy.special import log_ndtr, logsumexp, ndtr, ndtri

Values = NDArray[np.float64]
Samples = dict[str, Values]


class Parzen(_ParzenEstimator):  # type: ignore[misc]  # optuna has no types
    """A mixture of products of normal densities that are cut off at the bounds of a dimension.

    Dimensions are whole numbers from 0, or numbers on a logarithmic scale. One kernel is the prior:
    in the middle, and as wide as the dimension.
    """

    def __init__(
        self,
        observations: Mapping[str, Values],
        search_space: Mapping[str, BaseDistribution],
        parameters: Any,
        predetermined_weights: Values | None = None,
    ) -> None:
        self._names = list(search_space)
        self._whole_D = np.array([isinstance(d, IntDistribution) for d in search_space.values()])
        ends = np.array([(d.low, d.high) for d in search_space.values()], dtype=np.float64).T
        self._bounds = self._scaled(ends) + np.where(self._whole_D, [[-0.5], [0.5]], 0.0)
        seen_ND = self._scaled(np.array([observations[name] for name in self._names]).T)
        count = len(seen_ND)
        given_N = predetermined_weights
        if given_N is None:
            given_N = self._call_weights_func(parameters.weights, count)
        weights_N = np.append(given_N, parameters.prior_weight)
        self._weights_N = weights_N / weights_N.sum()
        self._mu_ND = np.vstack([seen_ND, self._bounds.mean(0)])
        self._sigma_ND = np.vstack([self._widths(seen_ND, parameters), np.ptp(self._bounds, 0)])

    def sample(self, rng: np.random.RandomState, size: int) -> Samples:
        """Draw from kernels that are drawn by their weights."""
        kernel_B = rng.choice(len(self._weights_N), p=self._weights_N, size=size)
        mu_BD, sigma_BD = self._mu_ND[kernel_B], self._sigma_ND[kernel_B]
        low_BD, high_BD = (ndtr((bound - mu_BD) / sigma_BD) for bound in self._bounds)
        drawn_BD = mu_BD + sigma_BD * ndtri(low_BD + rng.rand(*mu_BD.shape) * (high_BD - low_BD))
        inside_BD = np.clip(drawn_BD, *self._bounds)
        inside_BD[:, self._whole_D] = np.clip(
            np.round(inside_BD[:, self._whole_D]), 0, self._bounds[1, self._whole_D] - 0.5
        )
        inside_BD[:, ~self._whole_D] = np.exp(inside_BD[:, ~self._whole_D])
        return dict(zip(self._names, inside_BD.T, strict=True))

    def log_pdf(self, samples_dict: Samples) -> Values:
        """Return the logarithm of the mixture's density at samples, shape ``(B,)``."""
        given_BD = self._scaled(np.array([samples_dict[name] for name in self._names]).T)
        low_ND, high_ND = ((bound - self._mu_ND) / self._sigma_ND for bound in self._bounds)
        inside_N = np.log(ndtr(high_ND) - ndtr(low_ND)).sum(1)
        apart_BN = self._whole(given_BD) + self._continuous(given_BD) - inside_N
        found: Values = logsumexp(apart_BN + np.log(self._weights_N), axis=1)
        return found

    def _whole(self, given_BD: Values) -> Values:
        """Return the sum over whole numbers of the log masses at samples, shape ``(B, N)``."""
        whole_BW = given_BD[:, self._whole_D]
        mu_NW, sigma_NW = self._mu_ND[:, self._whole_D], self._sigma_ND[:, self._whole_D]
        most = int(self._bounds[1, self._whole_D].max(initial=0.0))
        edges_KNW = (np.arange(most + 1)[:, None, None] + 0.5) / sigma_NW[None, :-1]
        beyond_KNW = log_ndtr(-edges_KNW)
        mass_KNW = np.empty_like(beyond_KNW)
        mass_KNW[0] = np.log1p(-2 * np.exp(beyond_KNW[0]))
        mass_KNW[1:] = beyond_KNW[:-1] + np.log1p(-np.exp(np.diff(beyond_KNW, axis=0)))
        prior_BW = (whole_BW - mu_NW[-1]) / sigma_NW[-1]
        half_W = 0.5 / sigma_NW[-1]
        prior_B = np.log(ndtr(prior_BW + half_W) - ndtr(prior_BW - half_W)).sum(1)
        kernel_1N, axis_W = np.arange(len(mu_NW) - 1)[None], np.arange(mu_NW.shape[1])
        apart_BNW = np.abs(whole_BW[:, None] - mu_NW[None, :-1]).astype(np.intp)
        found_BN = mass_KNW[apart_BNW, kernel_1N[..., None], axis_W].sum(2)
        return np.hstack([found_BN, prior_B[:, None]])

    def _continuous(self, given_BD: Values) -> Values:
        """Return the sum over the other dimensions of the log densities, shape ``(B, N)``."""
        rest_D = ~self._whole_D
        sigma_ND = self._sigma_ND[:, rest_D]
        apart_BND = (given_BD[:, None, rest_D] - self._mu_ND[None, :, rest_D]) / sigma_ND
        found: Values = (-0.5 * (apart_BND**2 + np.log(2 * np.pi)) - np.log(sigma_ND)).sum(2)
        return found

    def _scaled(self, given_BD: Values) -> Values:
        found = np.array(given_BD, dtype=np.float64).reshape(-1, len(self._names))
        found[:, ~self._whole_D] = np.log(found[:, ~self._whole_D])
        return found

    def _widths(self, seen_ND: Values, parameters: Any) -> Values:
        """Return the larger of the gaps to a kernel's neighbours, neither tiny nor over the range.

        The outermost kernels have one neighbour, unless there is no other kernel at all.
        """
        low_D, high_D = self._bounds
        order_ND = np.argsort(seen_ND, axis=0)
        ended = np.vstack([low_D, np.take_along_axis(seen_ND, order_ND, 0), high_D])
        gaps = np.diff(ended, axis=0)
        wide_ND = np.maximum(gaps[:-1], gaps[1:])
        if not parameters.consider_endpoints and len(ended) >= 4:
            wide_ND[0], wide_ND[-1] = gaps[1], gaps[-2]
        found_ND = np.empty_like(wide_ND)
        np.put_along_axis(found_ND, order_ND, wide_ND, 0)
        kernels = len(seen_ND) + 1
        least = 1.0 / min(100.0, 1.0 + kernels) if parameters.consider_magic_clip else 1e-12
        return np.clip(found_ND, least * (high_D - low_D), high_D - low_D)
