"""AdamW that touches nothing but the rows that a step has sampled.

Torch's AdamW moves all of a tensor: rows with a gradient of zero still follow their momentum and
decay. Here each element has the moments and the number of steps of those in which it took part, so
that a supernet of one configuration is trained as torch's AdamW would train it
(Loshchilov and Hutter 2019, arXiv 1711.05101).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from autopeft.supernet.elastic import View

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


class Gradients:
    """The gradients of a step's configurations, added up over the corners that they hold."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self._views: dict[str, View] = {}

    def add(self, views: Iterable[View], weight: float) -> None:
        """Add what the leaves of an active configuration have, times a weight; it is taken away."""
        for view in views:
            gradient, view.leaf.grad = view.leaf.grad, None
            if gradient is None or not view.trained:
                continue
            gradient.mul_(weight)
            held = self.sums.get(view.name)
            self.sums[view.name] = gradient if held is None else _sum(held, gradient)
            self._views[view.name] = view

    def touched(self) -> Iterable[tuple[View, Tensor]]:
        """Yield each shared tensor that took part, by a view of it, with its gradient."""
        for name, gradient in self.sums.items():
            yield self._views[name], gradient


@dataclass(slots=True)
class Moments:
    """What is remembered of a tensor: both moments, and for each element how many steps it saw."""

    first: Tensor
    second: Tensor
    steps: Tensor


class MaskedAdamW:
    """Moves the sampled corner of every shared tensor, and no other element, by AdamW's rule."""

    def __init__(self, rates: Mapping[str, float], weight_decay: float) -> None:
        self._rates = rates
        self._decay = weight_decay
        self.moments: dict[str, Moments] = {}

    def step(self, gradients: Gradients, factor: float) -> None:
        """Take a step with the methods' rates times a factor."""
        with torch.no_grad():
            for view, gradient in gradients.touched():
                rate = self._rates[view.method] * factor
                self._move(view.name, view.whole, gradient, rate)

    def _move(self, name: str, whole: Tensor, gradient: Tensor, rate: float) -> None:
        corner = tuple(slice(0, width) for width in gradient.shape)
        kept = self._moments(name, whole, gradient)
        first, second = kept.first[corner], kept.second[corner]
        steps = kept.steps[tuple(slice(0, width) for width in gradient.shape[: kept.steps.dim()])]
        steps += 1
        steps = steps.view(*steps.shape, *(1,) * (gradient.dim() - steps.dim()))
        one, two = _BETAS
        first.lerp_(gradient, 1 - one)
        second.mul_(two).addcmul_(gradient, gradient, value=1 - two)
        slope = second.sqrt().div_((1 - two**steps).sqrt_()).add_(_EPSILON)
        part = whole[corner]
        part.mul_(1 - rate * self._decay)
        part.sub_(first.div(slope).mul_(rate / (1 - one**steps)))

    def _moments(self, name: str, whole: Tensor, gradient: Tensor) -> Moments:
        kept = self.moments.get(name)
        if kept is None:
            kept = self.moments[name] = Moments(
                torch.zeros_like(whole),
                torch.zeros_like(whole),
                # in double precision, as torch corrects the bias
                torch.zeros(whole.shape[:1], dtype=torch.float64),
            )
        if kept.steps.dim() < whole.dim() and gradient.shape[1:] != whole.shape[1:]:
            counts = kept.steps.view(-1, *(1,) * (whole.dim() - kept.steps.dim()))
            kept.steps = counts.expand(whole.shape).clone()  # not whole rows, but a corner
        return kept


def _sum(one: Tensor, other: Tensor) -> Tensor:
    if one.shape == other.shape:
        return one.add_(other)
    total = one.new_zeros([max(pair) for pair in zip(one.shape, other.shape, strict=True)])
    for part in (one, other):
        total[tuple(slice(0, width) for width in part.shape)] += part
    return total
