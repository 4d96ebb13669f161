"""Segments with a low-rank product each, on a GPU: the blocks of LoRA's linear map, by a table.

A program of the forward has rows of one segment. ``p_tiles`` holds for each tile of rows its first
row, the row after its last, and the first row and the rank of its segment's factors; ``p_segments``
the same for each whole segment. ``p_scales`` are the segments' scales, of a tile's or a segment's
index. Axes and names as in ``lora_linear/kernels.py``; P is the largest rank.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl

from autopeft.kernels.lora_linear.kernels import factor_block, hidden_block, mapped_block


@triton.jit
def grouped_lora_linear_fwd_kernel(
    p_tiles, p_scales, p_x, p_weight, p_bias, p_first, p_second, p_hidden, p_y,
    J, K, P, x_n, weight_j, weight_k, first_r, second_r,
    FUSED: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_J: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_R: tl.constexpr,
):  # fmt: skip
    """Write ``x Wᵀ + b + scale · h second`` for a tile's rows, neighbours near in time."""
    across = tl.cdiv(J, BLOCK_J)
    down = tl.num_programs(0) // across
    i_n, i_j = tl.swizzle2d(tl.program_id(0) // across, tl.program_id(0) % across, down, across, 8)
    begin, end = tl.load(p_tiles + i_n * 4), tl.load(p_tiles + i_n * 4 + 1)
    rank, R = tl.load(p_tiles + i_n * 4 + 2), tl.load(p_tiles + i_n * 4 + 3)
    scale = tl.load(p_scales + i_n)
    o_n = begin + tl.arange(0, BLOCK_N)
    mapped_block(
        p_x, p_weight, p_bias, p_first + rank.to(tl.int64) * first_r,
        p_second + rank.to(tl.int64) * second_r, None, None, p_hidden, None, p_y,
        o_n, o_n < end, i_j,
        J, K, R, x_n, weight_j, weight_k, first_r, second_r, 0, P, scale, 0.0, 0,
        FUSED, False, False, PRECISION, BLOCK_N, BLOCK_J, BLOCK_K, BLOCK_R,
    )  # fmt: skip


@triton.jit
def grouped_lora_linear_fwd_kernel_hidden(
    p_tiles, p_x, p_first, p_hidden, K, P, x_n, first_r,
    PRECISION: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_R: tl.constexpr,
):  # fmt: skip
    """Write ``x firstᵀ`` for a tile's rows, as far as its segment's rank goes."""
    i_n, i_r = tl.program_id(0), tl.program_id(1)
    begin, end = tl.load(p_tiles + i_n * 4), tl.load(p_tiles + i_n * 4 + 1)
    rank, R = tl.load(p_tiles + i_n * 4 + 2), tl.load(p_tiles + i_n * 4 + 3)
    o_n = begin + tl.arange(0, BLOCK_N)
    if i_r * BLOCK_R < R:
        hidden_block(
            p_x, p_first + rank.to(tl.int64) * first_r, p_hidden, o_n, o_n < end, i_r, K, R,
            x_n, first_r, P, 0.0, 0, False, PRECISION, BLOCK_N, BLOCK_K, BLOCK_R,
        )  # fmt: skip


@triton.jit
def grouped_lora_linear_bwd_kernel_factor(
    p_segments, p_scales, p_hidden, p_x, p_gradient, J, R, P, splits, x_n,
    PRECISION: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_J: tl.constexpr, BLOCK_R: tl.constexpr,
):  # fmt: skip
    """Write a split's share of each segment's ``scale · hᵀ x``, shape ``(S, R, J)``."""
    i_k, i_s = tl.program_id(2) // splits, tl.program_id(2) % splits
    begin, end = tl.load(p_segments + i_k * 4), tl.load(p_segments + i_k * 4 + 1)
    rank, own = tl.load(p_segments + i_k * 4 + 2), tl.load(p_segments + i_k * 4 + 3)
    rows = tl.cdiv(end - begin, splits)
    if tl.program_id(1) * BLOCK_R < own:
        factor_block(
            p_hidden, p_x, p_gradient + (i_s * R + rank).to(tl.int64) * J,
            begin + i_s * rows, tl.minimum(begin + (i_s + 1) * rows, end),
            tl.program_id(1), tl.program_id(0), J, own, x_n, P, tl.load(p_scales + i_k), 0.0, 0,
            False, PRECISION, BLOCK_N, BLOCK_J, BLOCK_R,
        )  # fmt: skip
