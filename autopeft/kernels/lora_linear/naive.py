"""LoRA's linear map, as the paper writes it.

Axes: ... any leading axes, I inputs, O outputs, R rank. Factors are stored rank first, so that
rank r is the contiguous view ``[:r]``.
"""

from torch import Tensor
from torch.nn.functional import linear


def lora_linear(  # noqa: PLR0917  # operands, in the order of the formula
    x_I: Tensor,
    weight_OI: Tensor,
    bias_O: Tensor | None,
    down_RI: Tensor,
    up_RO: Tensor,
    scale: float,
) -> Tensor:
    """Return ``x Wᵀ + b + scale · (x Dᵀ) U``, shape ``(..., O)`` (Hu et al. 2021, eq. 3)."""
    return linear(x_I, weight_OI, bias_O) + low_rank(x_I, down_RI, up_RO, scale)


def low_rank(x_I: Tensor, down_RI: Tensor, up_RO: Tensor, scale: float) -> Tensor:
    """Return ``scale · (x Dᵀ) U``, shape ``(..., O)``."""
    return scale * (x_I @ down_RI.T) @ up_RO
