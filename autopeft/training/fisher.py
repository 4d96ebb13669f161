"""The empirical Fisher information of frozen weights, by which a FISH mask is chosen."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autopeft.methods.inject import Injection
from autopeft.training.batches import Examples
from autopeft.training.heads.model import TaskModel

_EXAMPLES = 128


def choose_masks(
    model: TaskModel, injection: Injection, train: Examples, seed: int, *, sample: int = _EXAMPLES
) -> None:
    """Let the methods that learn from the data what to train do so, on a sample of it.

    Call it once, after the head is there and before the first step; loaded weights bring their
    masks along. Nothing happens where no method asks. The paper takes 1,024 examples and finds
    fewer to do nearly as well (Sung et al. 2021, arXiv 2111.09839).
    """
    choices = injection.choices()
    if not choices:
        return
    rows = np.random.default_rng(seed).permutation(len(train))[:sample]
    weights = list({id(choice.weight): choice.weight for choice in choices}.values())
    found = squared_gradients(model, weights, train, rows)
    for choice in choices:
        place = next(i for i, weight in enumerate(weights) if weight is choice.weight)
        choice.choose(found[place])


def squared_gradients(
    model: TaskModel, weights: Sequence[nn.Parameter], examples: Examples, rows: NDArray[np.int64]
) -> list[Tensor]:
    """Return for each weight the mean over examples of its squared gradient, in its shape.

    The mean of squares, not the square of the mean: every example goes through the model alone. An
    example without anything to score counts as zero. Dropout is off.
    """
    model.eval()
    sums = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
    asked = [weight.requires_grad for weight in weights]
    try:
        for weight in weights:
            weight.requires_grad_()
        for row in rows:
            loss = model.loss(examples.batch([row]))
            for place, gradient in enumerate(_gradients(loss, weights)):
                if gradient is not None and bool(torch.isfinite(gradient).all()):
                    sums[place] += gradient.float().square()
    finally:
        for weight, before in zip(weights, asked, strict=True):
            weight.requires_grad_(before)
    return [total / max(1, len(rows)) for total in sums]


def _gradients(loss: Tensor, weights: Sequence[nn.Parameter]) -> Sequence[Tensor | None]:
    return torch.autograd.grad(loss, list(weights), allow_unused=True)
