"""The socket that a head fills, and the linear map that most heads are.

Axes: B batch, D width, C classes, N whatever is scored.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from autopeft.training.batches import Batch

_SPREAD = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a model says of a batch.

    ``predictions`` have an example a row, in the number type of `Task.predicted`. ``loss`` is the
    mean over ``weight`` rows, words or tokens.
    """

    predictions: Tensor
    loss: Tensor
    weight: int
    finite: bool


class TaskModel(Protocol):
    """A backbone with what turns its output into a loss and predictions; a ``nn.Module``."""

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean loss of a batch, to learn from."""

    def scored(self, batch: Batch) -> int:
        """Count what the mean loss of a batch is over: examples, words or tokens."""

    def judge(self, batch: Batch) -> Judged:
        """Return predictions and loss of a batch."""

    def head(self) -> dict[str, nn.Parameter]:
        """Return by name what is trained besides the methods; nothing where the head is frozen."""

    def train(self, mode: bool = True) -> Any:  # torch's own
        """Switch to training."""

    def eval(self) -> Any:
        """Switch to prediction."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return all parameters, the backbone's too."""

    def zero_grad(self) -> None:
        """Forget the gradients."""


def linear_head(
    outputs: int, width: int, generator: torch.Generator
) -> tuple[nn.Parameter, nn.Parameter]:
    """Return a small random weight, shape ``(C, D)``, and a bias of zeros."""
    weight = torch.randn(outputs, width, generator=generator) * _SPREAD
    return nn.Parameter(weight), nn.Parameter(torch.zeros(outputs))


def scores_of(vectors_ND: Tensor, weight_CD: Tensor, bias_C: Tensor) -> Tensor:
    """Return scores in single precision, shape ``(…, C)``.

    The head stays out of autocast: it is tiny, and its scores are what is compared.
    """
    with torch.autocast(vectors_ND.device.type, enabled=False):
        return linear(vectors_ND.float(), weight_CD, bias_C)
