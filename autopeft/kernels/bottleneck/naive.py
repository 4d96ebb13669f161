"""The bottleneck of serial and parallel adapters, as the papers write it.

Axes: ... any leading axes, I inputs, H bottleneck, O outputs. Both factors are stored bottleneck
first, so that width h is the contiguous view ``[:h]``.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Literal, NamedTuple

from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear, relu, silu

Activation = Literal["relu", "gelu", "gelu_tanh", "silu"]

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {"relu": relu, "gelu": gelu, "gelu_tanh": partial(gelu, approximate="tanh"), "silu": silu}
)


class Norm(NamedTuple):
    """The LayerNorm that a bottleneck reads through: its factors, its shifts, its epsilon."""

    weight_I: Tensor
    bias_I: Tensor
    epsilon: float = 1e-5


def bottleneck(  # noqa: PLR0917  # operands, in the order of the formula
    x_I: Tensor,
    down_HI: Tensor,
    bias_H: Tensor,
    up_HO: Tensor,
    bias_O: Tensor,
    scale: float,
    activation: Activation = "relu",
    *,
    norm: Norm | None = None,
    residual_O: Tensor | None = None,
) -> Tensor:
    """Return ``r + scale · (f(LN(x) Dᵀ + b) U + c)``, shape ``(..., O)``.

    Houlsby et al. 2019, figure 2. Without ``norm`` x is read as it is. The precision of the
    products is that of x, and the sum is returned in that of the residual, where there is one.
    """
    kind = x_I.dtype
    if norm is not None:
        weight_I, bias_I = norm.weight_I.to(kind), norm.bias_I.to(kind)
        x_I = layer_norm(x_I, x_I.shape[-1:], weight_I, bias_I, norm.epsilon).to(kind)
    hidden_H = ACTIVATIONS[activation](linear(x_I, down_HI.to(kind), bias_H.to(kind)))
    added_O = scale * (hidden_H @ up_HO.to(kind) + bias_O.to(kind))
    return added_O if residual_O is None else residual_O + added_O.to(residual_O.dtype)
