"""LoRA's linear map, as the paper writes it.

Axes: ... any leading axes, I inputs, O outputs, R rank. Factors are stored rank first, so that
rank r is the contiguous view ``[:r]``.
"""

import torch
from torch import Tensor
from torch.nn.functional import linear


def lora_linear(  # noqa: PLR0917  # operands, in the order of the formula
    x_I: Tensor,
    weight_OI: Tensor,
    bias_O: Tensor | None,
    down_RI: Tensor,
    up_RO: Tensor,
    scale: float,
    *,
    kept_I: Tensor | None = None,
    ratio_O: Tensor | None = None,
    residual_O: Tensor | None = None,
) -> Tensor:
    """Return ``ratio ∘ (x Wᵀ + scale · ((kept ∘ x) Dᵀ) U) + b + residual``, shape ``(..., O)``.

    Hu et al. 2021, eq. 3; with a ratio for each output, which is a magnitude by ``row_norms``, it
    is Liu et al. 2024, eq. 5. ``kept_I``, of x's shape, is the dropout in front of the product: 0
    where an input is dropped, and 1 / (1 - dropout) where it is kept. ``residual_O`` has the
    output's shape.
    """
    added_O = low_rank(x_I, down_RI, up_RO, scale, kept_I=kept_I)
    if ratio_O is None:
        y_O = linear(x_I, weight_OI, bias_O) + added_O
    else:
        y_O = (ratio_O * (linear(x_I, weight_OI) + added_O)).to(x_I.dtype)
        y_O = y_O if bias_O is None else y_O + bias_O
    return y_O if residual_O is None else y_O + residual_O


def low_rank(
    x_I: Tensor, down_RI: Tensor, up_RO: Tensor, scale: float, *, kept_I: Tensor | None = None
) -> Tensor:
    """Return ``scale · ((kept ∘ x) Dᵀ) U``, shape ``(..., O)``."""
    kept = x_I if kept_I is None else kept_I * x_I
    return scale * (kept @ down_RI.T) @ up_RO


def row_norms(weight_OI: Tensor, down_RI: Tensor, up_RO: Tensor, scale: float) -> Tensor:
    """Return the norms of the rows of ``W + scale · Uᵀ D``, shape ``(O,)``, as DoRA has them."""
    norms_O: Tensor = torch.linalg.vector_norm(weight_OI + scale * up_RO.T @ down_RI, dim=1)
    return norms_O
