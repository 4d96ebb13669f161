"""Segments with a low-rank product each, on a CPU: the frozen map once, the products in place.

For the backward x is kept only where ``down`` or the weight is trained. Axes as in ``naive.py``;
lower-case n and r are the rows and the rank of one segment.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from autopeft.kernels.lora_linear.eager import frozen_map


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
    """Return what ``naive.grouped_lora_linear`` returns, to rounding.

    Factors may have another precision than x, whose is computed in.
    """
    segments = tuple(_segments(scales, ranks, rows))
    y: Tensor = _GroupedLoraLinear.apply(  # type: ignore[no-untyped-call]  # torch has no types
        x_NI, weight_OI, bias_O, down_RI, up_RO, segments
    )
    return y


@dataclass(frozen=True, slots=True, kw_only=True)
class _Segment:
    rows: slice
    ranks: slice
    scale: float


def _segments(
    scales: Sequence[float], ranks: Sequence[int], rows: Sequence[int]
) -> Iterator[_Segment]:
    """Yield the segments that have a product."""
    row = rank = 0
    for scale, height, width in zip(scales, ranks, rows, strict=True):
        if height and width:
            yield _Segment(
                rows=slice(row, row + width), ranks=slice(rank, rank + height), scale=scale
            )
        row, rank = row + width, rank + height


class _GroupedLoraLinear(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917  # as autograd calls it
        ctx: Any,
        x_NI: Tensor,
        weight_OI: Tensor,
        bias_O: Tensor | None,
        down_RI: Tensor,
        up_RO: Tensor,
        segments: tuple[_Segment, ...],
    ) -> Tensor:
        y_NO = frozen_map(x_NI, weight_OI, bias_O)
        down, up = down_RI.to(x_NI.dtype), up_RO.to(x_NI.dtype)
        hidden = []
        for segment in segments:
            hidden_nr = x_NI[segment.rows] @ down[segment.ranks].T
            y_NO[segment.rows].addmm_(hidden_nr, up[segment.ranks], alpha=segment.scale)
            hidden.append(hidden_nr)
        _, of_weight, _, of_down, of_up, _ = ctx.needs_input_grad
        ctx.save_for_backward(
            x_NI if of_weight or of_down else None, weight_OI, down_RI, up_RO,
            *(hidden if of_up else ()),
        )  # fmt: skip
        ctx.segments = segments
        return y_NO

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_NO: Tensor) -> tuple[Tensor | None, ...]:
        of_x, of_weight, of_bias, of_down, of_up, _ = ctx.needs_input_grad
        x_NI, weight_OI, down_RI, up_RO, *hidden = ctx.saved_tensors
        g_x = g_NO @ weight_OI if of_x else None
        g_down = torch.zeros_like(down_RI) if of_down else None
        g_up = torch.zeros_like(up_RO) if of_up else None
        down, up = down_RI.to(g_NO.dtype), up_RO.to(g_NO.dtype)
        for place, segment in enumerate(ctx.segments):
            g_nO = g_NO[segment.rows]
            if g_up is not None:
                g_up[segment.ranks] = (hidden[place] * segment.scale).T @ g_nO
            if g_x is None and g_down is None:
                continue
            g_nr = (g_nO @ up[segment.ranks].T).mul_(segment.scale)
            if g_down is not None:
                g_down[segment.ranks] = g_nr.T @ x_NI[segment.rows]
            if g_x is not None:
                g_x[segment.rows].addmm_(g_nr, down[segment.ranks])
        g_weight = g_NO.T @ x_NI if of_weight else None
        return g_x, g_weight, g_NO.sum(0) if of_bias else None, g_down, g_up, None
