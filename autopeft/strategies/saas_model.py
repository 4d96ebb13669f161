"""What a candidate promises, by Gaussian processes of what was measured: ``saasbo``'s torch part.

The noisy expected improvement (Letham et al. 2019), of the hypervolume where there are several
objectives (Daulton et al. 2021): the mean, over draws of hyperparameters and of what is true of the
known candidates, of the improvement that one more is expected to bring. BoTorch's acquisitions take
the last mean over draws too, and condition on everything anew for each candidate: half a minute for
what takes seconds here, where the last mean is exact and the rest is kept. A test holds the two
together. From BoTorch come the box decompositions, and the fit of the ``matern`` ablation.

Imported when it is needed: no other module of the strategies knows torch.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.utils.multi_objective.box_decompositions import (
    BoxDecompositionList,
    FastNondominatedPartitioning,
)
from botorch.utils.multi_objective.pareto import is_non_dominated
from botorch.utils.sampling import draw_sobol_normal_samples
from gpytorch.constraints import Interval
from gpytorch.kernels import MaternKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import GammaPrior
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from autopeft.strategies.saas_posterior import Processes

Array = NDArray[np.float64]
Promise = Callable[[Array], Array]

# N trials, D coordinates, K objectives, S draws of hyperparameters, M draws of what is true
# B candidates that are known, C candidates that are looked at, P parts of the space not dominated
_TRUTHS = 32
_FEW_TRUTHS = 8  # with more than two objectives: each needs a box decomposition of its own
_CHUNK = 50
_JITTER = 1e-6


class Fitted:
    """Gaussian processes over the same trials, one for each draw of hyperparameters."""

    def __init__(self, inputs_ND: Array, outputs_N: Array, drawn: Processes) -> None:
        self._inputs = torch.as_tensor(inputs_ND)
        self._lengths_S1D = torch.as_tensor(drawn.length_SD).unsqueeze(1)
        self._scale_S11 = torch.as_tensor(drawn.output_scale_S)[:, None, None]
        self._mean_S1 = torch.as_tensor(drawn.mean_S).unsqueeze(1)
        noise_S11 = torch.as_tensor(drawn.noise_S)[:, None, None]
        among_SNN = self.covariance(self._inputs, self._inputs)
        self._root_SNN = torch.linalg.cholesky(
            among_SNN + noise_S11 * torch.eye(len(inputs_ND), dtype=torch.float64)
        )
        away_SN = torch.as_tensor(outputs_N) - self._mean_S1
        self._weights_SN1 = torch.cholesky_solve(away_SN.unsqueeze(-1), self._root_SNN)

    def covariance(self, one_AD: Tensor, other_BD: Tensor) -> Tensor:
        """Return the prior covariance, draws by A by B: Matern-5/2."""
        far = math.sqrt(5) * torch.cdist(one_AD / self._lengths_S1D, other_BD / self._lengths_S1D)
        covariance: Tensor = self._scale_S11 * (1 + far + far**2 / 3) * torch.exp(-far)
        return covariance

    def mean(self, at_CD: Tensor) -> Tensor:
        """Return the posterior mean, draws by C."""
        across_SCN = self.covariance(at_CD, self._inputs)
        found: Tensor = self._mean_S1 + (across_SCN @ self._weights_SN1).squeeze(-1)
        return found

    def explained(self, at_CD: Tensor) -> Tensor:
        """Return what trials explain, draws by N by C: its products are what variance is less."""
        across_SNC = self.covariance(self._inputs, at_CD)
        found: Tensor = torch.linalg.solve_triangular(self._root_SNN, across_SNC, upper=False)
        return found

    def variance(self) -> Tensor:
        """Return the prior variance, draws by 1."""
        return self._scale_S11.squeeze(-1)


class Truths:
    """Draws of what is true of some candidates, and what follows from them for others."""

    def __init__(self, fitted: Fitted, known_BD: Tensor, normal_MB: Tensor) -> None:
        self._fitted, self._known, self._normal = fitted, known_BD, normal_MB
        self._explained_SNB = fitted.explained(known_BD)
        covariance_SBB = (
            fitted.covariance(known_BD, known_BD)
            - self._explained_SNB.transpose(1, 2) @ self._explained_SNB
        )
        jitter = _JITTER * torch.eye(len(known_BD), dtype=torch.float64)
        self._root_SBB = torch.linalg.cholesky(
            covariance_SBB + fitted.variance()[:, :, None] * jitter
        )

    def values(self) -> Tensor:
        """Return what is true of the known, M by draws by B."""
        shifts_MSB = torch.einsum("sab,mb->msa", self._root_SBB, self._normal)
        return self._fitted.mean(self._known) + shifts_MSB

    def beyond(self, at_CD: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean (M by draws by C) and deviation (draws by C) of others, given the truths."""
        explained_SNC = self._fitted.explained(at_CD)
        across_SBC = (
            self._fitted.covariance(self._known, at_CD)
            - self._explained_SNB.transpose(1, 2) @ explained_SNC
        )
        pull_SBC = torch.linalg.solve_triangular(self._root_SBB, across_SBC, upper=False)
        mean_MSC = self._fitted.mean(at_CD) + torch.einsum("sbc,mb->msc", pull_SBC, self._normal)
        left_SC = self._fitted.variance() - (explained_SNC**2).sum(1) - (pull_SBC**2).sum(1)
        return mean_MSC, left_SC.clamp_min(1e-12).sqrt()


def promise(
    models: list[Fitted], known_BD: Array, pending: Array | None, reference_K: Array, seed: int
) -> Promise:
    """Return what tells the logarithm of the noisy expected improvement over what is known.

    What is pending counts as known, and what becomes of it is drawn too.
    """
    with settled(seed):
        known = torch.as_tensor(known_BD)
        reference = torch.as_tensor(reference_K)
        drawn = _TRUTHS if len(models) <= 2 else _FEW_TRUTHS
        known = known[_may_count(_truths(models, known, drawn, seed), reference)]
        if pending is not None:
            known = torch.cat([known, torch.as_tensor(pending)])
        truths = _truths(models, known, drawn, seed + 1)
        lower, upper = _not_dominated(truths, reference)

    def value(at_CD: Array) -> Array:
        with settled(seed):
            chunks = torch.split(torch.as_tensor(at_CD), _CHUNK)
            found = [_log_gain(truths, chunk, lower, upper) for chunk in chunks]
        return np.asarray(torch.cat(found).numpy())

    return value


def _truths(models: list[Fitted], known_BD: Tensor, count: int, seed: int) -> list[Truths]:
    size = len(models) * len(known_BD)
    normal = draw_sobol_normal_samples(size, count, dtype=torch.float64, seed=seed)
    normal_MKB = normal.reshape(count, len(models), len(known_BD))
    return [Truths(m, known_BD, normal_MKB[:, k]) for k, m in enumerate(models)]


def _points(truths: list[Truths]) -> Tensor:
    """Return what is true of the known in every objective, M by draws by B by K."""
    return torch.stack([truth.values() for truth in truths], dim=-1)


def _may_count(truths: list[Truths], reference_K: Tensor) -> Tensor:
    """Tell which of the known are on the front in one of the draws."""
    points_RBK = _points(truths).flatten(0, 1)
    if points_RBK.shape[-1] == 1:
        best_R = points_RBK.squeeze(-1).argmax(-1)
        return torch.bincount(best_R, minlength=points_RBK.shape[1]) > 0
    on_front = [is_non_dominated(rows) for rows in torch.split(points_RBK, _CHUNK)]
    better_RB = (points_RBK > reference_K).all(-1)
    found = (torch.cat(on_front) & better_RB).any(0)
    return found if bool(found.any()) else torch.cat(on_front).any(0)


def _not_dominated(truths: list[Truths], reference_K: Tensor) -> tuple[Tensor, Tensor]:
    """Return the corners of the boxes that improve, for each draw: R by P by K."""
    points_RBK = _points(truths).flatten(0, 1)
    if points_RBK.shape[-1] == 1:
        best_RPK = points_RBK.max(1, keepdim=True).values
        return best_RPK, torch.full_like(best_RPK, math.inf)
    together = points_RBK.shape[-1] == 2  # BoTorch takes draws together for two objectives only
    boxes = (
        FastNondominatedPartitioning(reference_K, points_RBK)
        if together
        else BoxDecompositionList(
            *(FastNondominatedPartitioning(reference_K, points) for points in points_RBK)
        )
    )
    lower_RPK, upper_RPK = boxes.get_hypercell_bounds()
    return lower_RPK, upper_RPK


def _log_gain(truths: list[Truths], at_CD: Tensor, lower_RPK: Tensor, upper_RPK: Tensor) -> Tensor:
    """Return the logarithm of the mean improvement, one for each candidate."""
    total = torch.zeros(())
    for k, truth in enumerate(truths):
        mean_MSC, deviation_SC = truth.beyond(at_CD)
        mean_RC1 = mean_MSC.flatten(0, 1).unsqueeze(-1)
        deviation_RC1 = deviation_SC.expand_as(mean_MSC).flatten(0, 1).unsqueeze(-1)
        above_RCP, beyond_RCP = (
            _log_excess((mean_RC1 - bound.unsqueeze(1)) / deviation_RC1)
            for bound in (lower_RPK[..., k], upper_RPK[..., k])
        )
        within = torch.log1p(-torch.exp((beyond_RCP - above_RCP).clamp_max(-1e-12)))
        total = total + above_RCP + within + deviation_RC1.log()
    gains_RC = torch.logsumexp(total, dim=-1)
    return torch.logsumexp(gains_RC, dim=0) - math.log(len(gains_RC))


def _log_excess(z: Tensor) -> Tensor:
    """Return the logarithm of E[max(0, z + e)], e standard normal; precise far below zero too."""
    usual = z.clamp_min(-1.0)
    near = torch.log(torch.exp(-(usual**2) / 2) / math.sqrt(2 * math.pi)
                     + usual * torch.special.ndtr(usual))  # fmt: skip
    far = z.clamp(-1e6, -1.0)
    mills = math.sqrt(math.pi / 2) * torch.special.erfcx(-far / math.sqrt(2))
    below = -(far**2) / 2 - 0.5 * math.log(2 * math.pi) + torch.log(
        torch.where(far < -1e3, far**-2, 1 + far * mills)
    )  # fmt: skip
    return torch.where(torch.isinf(z), z, torch.where(z > -1.0, near, below))


def likeliest(inputs_ND: Array, outputs_N: Array, seed: int) -> Processes:
    """Fit the likeliest hyperparameters alone: AutoPEFT's ablation.

    Kernel Matern-5/2, and noise of Gamma(0.9, 10) between 1e-7 and 1e-3.
    """
    noise = GaussianLikelihood(
        noise_prior=GammaPrior(0.9, 10.0), noise_constraint=Interval(1e-7, 1e-3, initial_value=1e-4)
    )
    matern = MaternKernel(
        nu=2.5, ard_num_dims=inputs_ND.shape[1], lengthscale_prior=GammaPrior(3.0, 6.0)
    )
    scaled = ScaleKernel(matern, outputscale_prior=GammaPrior(2.0, 0.15))
    with settled(seed), torch.enable_grad():
        model = SingleTaskGP(
            torch.as_tensor(inputs_ND), torch.as_tensor(outputs_N).unsqueeze(-1),
            likelihood=noise, covar_module=scaled, outcome_transform=None,
        )  # fmt: skip
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    found = (model.mean_module.constant, scaled.outputscale, noise.noise, matern.lengthscale)
    mean, scale, variance, lengths = (part.detach().numpy() for part in found)
    return Processes(
        mean_S=mean.reshape(1),
        output_scale_S=scale.reshape(1),
        noise_S=variance.reshape(1),
        length_SD=lengths.reshape(1, -1),
    )


@contextmanager
def settled(seed: int) -> Iterator[None]:
    """Let the same numbers come out every time: a seed for torch, and one thread.

    With more threads sums are taken in another order; draws of NUTS magnify the difference.
    """
    threads = torch.get_num_threads()
    with threadpool_limits(limits=1), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
