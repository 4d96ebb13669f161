"""The bottleneck on a GPU: what launches its kernels.

Operands have two axes, N rows and what a row holds; what is not contiguous is copied. Axes as in
``kernels.py``.
"""

from typing import NamedTuple

import torch
import triton
from torch import Tensor

from autopeft.kernels.bottleneck import cuts
from autopeft.kernels.bottleneck.kernels import (
    bottleneck_bwd_kernel_factors,
    bottleneck_bwd_kernel_rows,
    bottleneck_fwd_kernel,
)
from autopeft.kernels.tuning import Tiles, run

VARIANTS = cuts.VARIANTS


class Gradients(NamedTuple):
    """What the backward gives; empty where it was not asked for."""

    x_NI: Tensor
    down_HI: Tensor
    bias_H: Tensor
    up_HO: Tensor
    bias_O: Tensor
    weight_I: Tensor
    bias_I: Tensor


def forward(  # operands, in the order of the formula
    x_NI: Tensor,
    down_HI: Tensor,
    bias_H: Tensor,
    up_HO: Tensor,
    bias_O: Tensor,
    weight_I: Tensor | None,
    bias_I: Tensor | None,
    residual_NO: Tensor | None,
    scale: float,
    epsilon: float,
    activation: str,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the sum, and what is kept: the input of the activation, mean and 1 / deviation.

    What is not contiguous is copied; what is not kept is empty.
    """
    x_NI, down_HI, up_HO = x_NI.contiguous(), down_HI.contiguous(), up_HO.contiguous()
    (N, I), (H, O) = x_NI.shape, up_HO.shape
    residual_NO = None if residual_NO is None else residual_NO.contiguous()
    y_NO = x_NI.new_empty(N, O, dtype=x_NI.dtype if residual_NO is None else residual_NO.dtype)
    inner_NH = x_NI.new_empty((N, H) if keep else 0)
    mean_N, rstd_N = (
        x_NI.new_empty(N if keep and weight_I is not None else 0, dtype=torch.float32)
        for _ in range(2)
    )

    def launch(tiles: Tiles) -> None:
        bottleneck_fwd_kernel[triton.cdiv(N, tiles.blocks["BN"]),](
            x_NI, down_HI, bias_H.contiguous(), up_HO, bias_O.contiguous(),
            None if weight_I is None else weight_I.contiguous(),
            None if bias_I is None else bias_I.contiguous(),
            residual_NO, y_NO, inner_NH, mean_N, rstd_N, scale, epsilon, N, I, H, O,
            ACTIVATION=activation, NORM=weight_I is not None,
            RESIDUAL=residual_NO is not None, KEEP=keep,
            **tiles.blocks, **tiles.options,
        )  # fmt: skip

    if N:
        key = (I, H, O, x_NI.dtype, down_HI.dtype, weight_I is not None)
        run("bottleneck_fwd", key, cuts.row_tiles(H, x_NI.element_size()), launch, x_NI)
    return y_NO, inner_NH, mean_N, rstd_N


def backward(  # operands, in the order of the formula
    g_NO: Tensor,
    x_NI: Tensor,
    inner_NH: Tensor,
    mean_N: Tensor,
    rstd_N: Tensor,
    down_HI: Tensor,
    bias_H: Tensor,
    up_HO: Tensor,
    bias_O: Tensor,
    weight_I: Tensor | None,
    bias_I: Tensor | None,
    scale: float,
    activation: str,
    onto_input: bool,
    wants_x: bool,
    wants_factors: bool,
) -> Gradients:
    """Return the gradients; sums over rows are in one order always, without atomics.

    ``onto_input`` adds that of the residual to that of x, when both are one tensor.
    """
    g_NO, x_NI = g_NO.contiguous(), x_NI.contiguous()
    down_HI, up_HO = down_HI.contiguous(), up_HO.contiguous()
    stats = mean_N, rstd_N
    d_inner_NH, d_x_NI = _rows_backward(
        g_NO, x_NI, inner_NH, stats, down_HI, bias_H, up_HO, weight_I, bias_I,
        scale, activation, onto_input, wants_x,
    )  # fmt: skip
    nothing = x_NI.new_empty(0)
    if not wants_factors:
        return Gradients(d_x_NI, *(nothing.clone() for _ in range(6)))
    d_up_HO, sums_O = _sums(inner_NH, g_NO, None, activation)
    products_HI, sums_H = _sums(d_inner_NH, x_NI, None if weight_I is None else stats, "")
    d_down_HI, d_weight_I, d_bias_I = products_HI, nothing, nothing.clone()
    if weight_I is not None and bias_I is not None:
        down = down_HI.float()
        d_down_HI = products_HI * weight_I + sums_H[:, None] * bias_I
        d_weight_I = (products_HI * down).sum(0).to(weight_I.dtype)
        d_bias_I = (sums_H @ down).to(bias_I.dtype)
    return Gradients(
        d_x_NI,
        d_down_HI.to(down_HI.dtype),
        sums_H.to(bias_H.dtype),
        (scale * d_up_HO).to(up_HO.dtype),
        (scale * sums_O).to(bias_O.dtype),
        d_weight_I,
        d_bias_I,
    )


def _rows_backward(  # operands, as above
    g_NO: Tensor,
    x_NI: Tensor,
    inner_NH: Tensor,
    stats: tuple[Tensor, Tensor],
    down_HI: Tensor,
    bias_H: Tensor,
    up_HO: Tensor,
    weight_I: Tensor | None,
    bias_I: Tensor | None,
    scale: float,
    activation: str,
    onto_input: bool,
    wants_x: bool,
) -> tuple[Tensor, Tensor]:
    (N, I), (H, O) = x_NI.shape, up_HO.shape
    d_inner_NH = torch.empty_like(inner_NH)
    d_x_NI = torch.empty_like(x_NI) if wants_x else x_NI.new_empty(0)
    slant_H = offset_H = None
    if weight_I is not None and bias_I is not None:
        down = down_HI.float()
        slant_H, offset_H = down @ weight_I.float(), down @ bias_I.float() + bias_H

    def launch(tiles: Tiles) -> None:
        bottleneck_bwd_kernel_rows[triton.cdiv(N, tiles.blocks["BN"]),](
            g_NO, x_NI, inner_NH, *stats, down_HI, up_HO,
            None if weight_I is None else weight_I.contiguous(), slant_H, offset_H,
            d_inner_NH, d_x_NI, scale, N, I, H, O,
            ACTIVATION=activation, NORM=weight_I is not None, INPUT=wants_x, ONTO=onto_input,
            **tiles.blocks, **tiles.options,
        )  # fmt: skip

    if N:
        key = (I, H, O, x_NI.dtype, down_HI.dtype, weight_I is not None, wants_x)
        run("bottleneck_bwd_rows", key, cuts.row_tiles(H, x_NI.element_size()), launch, x_NI)
    return d_inner_NH, d_x_NI


def _sums(
    left_NH: Tensor, right_NJ: Tensor, stats: tuple[Tensor, Tensor] | None, activation: str
) -> tuple[Tensor, Tensor]:
    """Return ``leftᵀ right`` over the rows in fp32, and the sums of the one that has a bias.

    With an activation, which is put on what is left, that is the right one.
    """
    N, (H, J) = len(left_NH), (left_NH.shape[1], right_NJ.shape[1])
    left = activation == ""
    if not N or not H or not J:
        summed = left_NH if left else right_NJ
        return left_NH.new_zeros(H, J, dtype=torch.float32), summed.sum(0, dtype=torch.float32)
    splits, rows = _split(N, H, J)
    products_SHJ = left_NH.new_empty(splits, H, J, dtype=torch.float32)
    sums = left_NH.new_empty(splits, H if left else J, dtype=torch.float32)

    def launch(tiles: Tiles) -> None:
        grid = triton.cdiv(J, tiles.blocks["BJ"]), triton.cdiv(H, tiles.blocks["BH"]), splits
        bottleneck_bwd_kernel_factors[grid](
            left_NH, right_NJ, *(stats or (None, None)), products_SHJ,
            sums if left else None, None if left else sums, rows, N, H, J,
            ACTIVATION=activation, NORM=stats is not None, LEFT=left,
            **tiles.blocks, **tiles.options,
        )  # fmt: skip

    key = (H, J, left_NH.dtype, right_NJ.dtype, stats is not None)
    ways = cuts.factor_tiles(H, left_NH.element_size())
    run("bottleneck_bwd_factors", key, ways, launch, left_NH)
    return products_SHJ.sum(0), sums.sum(0)


def _split(N: int, H: int, J: int) -> tuple[int, int]:
    """Return into how many parts rows are split, so that there is work for a GPU, and their size.

    By the shape alone, so that the order of a sum is the same on every device.
    """
    tiles = triton.cdiv(H, 64) * triton.cdiv(J, 64)
    splits = max(1, min(256 // tiles, triton.cdiv(N, 256)))
    rows = triton.cdiv(triton.cdiv(N, splits), 64) * 64
    return triton.cdiv(N, rows), rows
