"""AdaLoRA: low-rank updates that share one budget of ranks (Zhang et al. 2023, arXiv 2303.10512).

    y = x Wᵀ + b + s · ((x Qᵀ) ∘ λ) P        Q: rank x inputs, λ: rank, P: rank x outputs

P and Q are held near orthogonal by a penalty on the loss, g · mean ‖P Pᵀ - I‖ over all P and Q with
the Frobenius norm, g = 0.1. Training begins with all ranks of the configuration and ends with two
thirds of them (the paper begins with half as many more as it wants to keep): after each step the
triplets (λᵢ, Pᵢ, Qᵢ) of all matrices are ranked by importance, and the λ of those beyond the budget
become zero. The budget stays whole for the first tenth of the recipe's steps, falls with a cubic
curve until half of them are done, and the triplets left then stay to the end.

The importance of a number w is its smoothed sensitivity times its uncertainty (equations 8 to 11):
I = |w · ∂L/∂w|, Ī ← β Ī + (1 - β) I, U ← β U + (1 - β) |I - Ī|, β = 0.85; that of a triplet is the
sum of its λ's and of the means over its P and its Q.

Identity at initialisation: λ is zero, P and Q are normal with deviation 0.02. The scale is a
constant, where the paper has alpha / r. Count: rank · (inputs + outputs + 1), pruned triplets
included: they are trained until they are pruned. Merges into W as W + s · Pᵀ diag(λ) Q.
"""

import torch
from torch import Tensor, nn

from autopeft.methods.linears import beside, merge_delta
from autopeft.methods.places import Attached, Block, Making

_SPREAD = 0.02
_PENALTY = 0.1
_SMOOTHING = 0.85
_KEPT = 2 / 3
_UNTIL_FALL, _UNTIL_END = 0.1, 0.5
_PRUNINGS = 100


class Triplets(nn.Module):
    """Left and right vectors and the values between them; zero at initialisation."""

    def __init__(
        self, inputs: int, outputs: int, rank: int, scale: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.scale = scale
        self.left = nn.Parameter(torch.randn(rank, outputs, generator=generator) * _SPREAD)
        self.values = nn.Parameter(torch.zeros(rank))
        self.right = nn.Parameter(torch.randn(rank, inputs, generator=generator) * _SPREAD)

    def forward(self, x_I: Tensor) -> Tensor:
        """Return ``s · ((x Qᵀ) ∘ λ) P``, shape ``(..., outputs)``."""
        hidden_R = self.scale * self.values * (x_I @ self.right.T)
        return hidden_R @ self.left

    def delta(self) -> Tensor:
        """Return ``s · Pᵀ diag(λ) Q``, shape ``(outputs, inputs)``."""
        return self.scale * (self.left.T * self.values) @ self.right

    def skew(self) -> Tensor:
        """Return how far both vectors are from orthonormal: ``‖P Pᵀ - I‖ + ‖Q Qᵀ - I‖``."""
        with torch.autocast(self.values.device.type, enabled=False):
            unit_RR = torch.eye(len(self.values), device=self.values.device)
            products = (side @ side.T - unit_RR for side in (self.left, self.right))
            return torch.stack([torch.linalg.matrix_norm(p) for p in products]).sum()


class Sensitivity:
    """What is remembered of a parameter's gradients."""

    def __init__(self, parameter: nn.Parameter) -> None:
        self._parameter = parameter
        self._mean = torch.zeros_like(parameter, requires_grad=False)
        self._uncertainty = torch.zeros_like(self._mean)

    def feel(self) -> None:
        """Take in the gradient of the last step, if there was one."""
        if self._parameter.grad is None:
            return
        now = (self._parameter.detach() * self._parameter.grad).abs()
        self._mean.lerp_(now, 1 - _SMOOTHING)
        self._uncertainty.lerp_((now - self._mean).abs(), 1 - _SMOOTHING)

    def importance(self) -> Tensor:
        """Return the importance of each number."""
        return self._mean * self._uncertainty


class Allocation:
    """The ranks of all matrices of a configuration, and which of them are kept."""

    def __init__(self) -> None:
        self._matrices: list[Triplets] = []
        self._felt: list[tuple[Sensitivity, ...]] = []

    def add(self, matrix: Triplets) -> None:
        """Let a matrix take part."""
        self._matrices.append(matrix)
        self._felt.append(tuple(map(Sensitivity, (matrix.values, matrix.left, matrix.right))))

    def penalty(self, matrix: Triplets) -> Tensor:
        """Return one matrix's part of the mean over all P and Q."""
        return _PENALTY / (2 * len(self._matrices)) * matrix.skew()

    def stepped(self, step: int, whole: int) -> None:
        """Learn from the gradients of a step, and prune where it is time."""
        last = round(_UNTIL_END * whole)
        if step < last:
            for sensitivity in (one for felt in self._felt for one in felt):
                sensitivity.feel()
        if step >= last or step % max(1, whole // _PRUNINGS) == 0:
            self._prune(self.budget(step, whole))

    def budget(self, step: int, whole: int) -> int:
        """Return how many triplets are kept after a step (equation 12)."""
        everything = sum(len(matrix.values) for matrix in self._matrices)
        kept = max(1, round(_KEPT * everything))
        first, last = round(_UNTIL_FALL * whole), round(_UNTIL_END * whole)
        done = (step - first) / max(1, last - first)
        return kept + int((everything - kept) * (1 - min(1.0, max(0.0, done))) ** 3)

    def _prune(self, budget: int) -> None:
        scores = torch.cat([self._importance(*felt) for felt in self._felt])
        gone = torch.ones_like(scores, dtype=torch.bool)
        gone[scores.topk(budget).indices] = False
        sizes = [len(matrix.values) for matrix in self._matrices]
        with torch.no_grad():
            for matrix, lost in zip(self._matrices, torch.split(gone, sizes), strict=True):
                matrix.values.masked_fill_(lost, 0.0)

    @staticmethod
    def _importance(values: Sensitivity, left: Sensitivity, right: Sensitivity) -> Tensor:
        return values.importance() + left.importance().mean(1) + right.importance().mean(1)


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put AdaLoRA of first rank ``size`` beside the linear layer at a site."""
    place = block.sites[site]
    matrix = Triplets(place.inputs, place.outputs, making.size, making.scale, making.generator)
    first = "adalora" not in making.everywhere
    allocation: Allocation = making.everywhere.setdefault("adalora", Allocation())
    allocation.add(matrix)
    return Attached(
        parameters=dict(matrix.named_parameters()),
        undo=beside(block, site, matrix),
        merge=merge_delta(block, site, matrix.delta),
        penalty=lambda: allocation.penalty(matrix),
        stepped=allocation.stepped if first else None,
    )
