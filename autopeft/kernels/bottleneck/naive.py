"""The bottleneck of serial and parallel adapters.

Axes: ... any leading axes, I inputs, H bottleneck, O outputs. Both factors are stored bottleneck
first, so that width h is the contiguous view ``[:h]``.
"""

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import linear, relu

Activation = Callable[[Tensor], Tensor]


def bottleneck(  # noqa: PLR0917  # operands, in the order of the formula
    x_I: Tensor,
    down_HI: Tensor,
    bias_H: Tensor,
    up_HO: Tensor,
    bias_O: Tensor,
    scale: float,
    activation: Activation = relu,
) -> Tensor:
    """Return ``scale · (relu(x Dᵀ + b) U + c)``, shape ``(..., O)``.

    Houlsby et al. 2019, figure 2, without the residual, which the caller adds.
    """
    return scale * (activation(linear(x_I, down_HI, bias_H)) @ up_HO + bias_O)
