"""One frozen linear map for a batch whose segments have a low-rank product each.

Axes: N rows of the batch, segment after segment; I inputs, O outputs, R the ranks of all segments
one after another.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from autopeft.kernels.lora_linear.naive import lora_linear


def grouped_lora_linear(  # noqa: PLR0917  # operands, in the order of the formula
    x_NI: Tensor,
    weight_OI: Tensor,
    bias_O: Tensor | None,
    down_RI: Tensor,
    up_RO: Tensor,
    scales: Sequence[float],
    ranks: Sequence[int],
    rows: Sequence[int],
) -> Tensor:
    """Return ``x Wᵀ + b + scaleₖ · (x Dₖᵀ) Uₖ`` with the k of each row's segment, shape ``(N, O)``.

    Segment k has the next ``rows[k]`` rows of x, and the next ``ranks[k]`` rows of both factors;
    with rank 0 it has the frozen map alone.
    """
    segments = zip(
        torch.split(x_NI, list(rows)), torch.split(down_RI, list(ranks)),
        torch.split(up_RO, list(ranks)), scales, strict=True,
    )  # fmt: skip
    return torch.cat(
        [
            lora_linear(x_nI, weight_OI, bias_O, down_rI, up_rO, scale)
            for x_nI, down_rI, up_rO, scale in segments
        ]
    )
