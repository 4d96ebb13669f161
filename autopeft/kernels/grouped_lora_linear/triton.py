"""Segments with a low-rank product each, on a GPU: what launches the kernels.

The weight may have any strides, and rows may lie apart; where the last axis of another operand is
not contiguous, it is copied. Axes as in ``naive.py``; J is what a kernel writes, K what it sums
over, P the largest rank.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import torch
from torch import Tensor

from autopeft.kernels.grouped_lora_linear.cuts import VARIANTS
from autopeft.kernels.grouped_lora_linear.kernels import (
    grouped_lora_linear_bwd_kernel_factor,
    grouped_lora_linear_fwd_kernel,
    grouped_lora_linear_fwd_kernel_hidden,
)
from autopeft.kernels.lora_linear import cuts
from autopeft.kernels.lora_linear.triton import (
    Wanted,
    blocks,
    precision,
    rows_key,
    rowwise,
    splits_of,
)
from autopeft.kernels.tuning import Tiles, run

__all__ = ["VARIANTS", "Segments", "backward", "forward"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """How rows and ranks are divided, and the scale of each part."""

    scales: tuple[float, ...]
    ranks: tuple[int, ...]
    rows: tuple[int, ...]

    @property
    def rank(self) -> int:
        """The largest rank; 1 where there is none, so that there is a place for it."""
        return max(1, *self.ranks)

    def table(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return rows and ranks of each segment as the kernels read them, and the scales."""
        return _table(self, None, device)

    def tiles(self, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the same for each tile of at most ``size`` rows."""
        return _table(self, size, device)

    def cut(self, size: int | None) -> Iterator[tuple[tuple[int, ...], float]]:
        """Yield the tiles of all segments, or the segments whole."""
        ends = zip(accumulate(self.rows), accumulate(self.ranks), strict=True)
        parts = zip(self.scales, self.ranks, self.rows, ends, strict=True)
        for scale, rank, rows, (end, last) in parts:
            for begin in range(end - rows, end, size or max(rows, 1)) if size else (end - rows,):
                yield (begin, min(begin + (size or rows), end), last - rank, rank), scale


# A study trains with few sizes of batches: their tables stay on the device.
@lru_cache(maxsize=256)
def _table(segments: Segments, size: int | None, device: torch.device) -> tuple[Tensor, Tensor]:
    entries, scales = zip(*segments.cut(size), strict=True)
    return (
        torch.tensor(entries, dtype=torch.int32, device=device),
        torch.tensor(scales, dtype=torch.float32, device=device),
    )


def forward(
    x_NI: Tensor,
    weight_OI: Tensor,
    bias_O: Tensor | None,
    down_RI: Tensor,
    up_RO: Tensor,
    segments: Segments,
) -> tuple[Tensor, Tensor]:
    """Return ``x Wᵀ + b + scaleₖ · h Uₖ`` and ``h = x Dₖᵀ``, shape ``(N, P)``.

    h is zero beyond a segment's own rank.
    """
    hidden_NP = x_NI.new_zeros(len(x_NI), segments.rank)
    y_NO = _mapped(x_NI, weight_OI, bias_O, down_RI, up_RO, hidden_NP, segments)
    return y_NO, hidden_NP


def backward(
    g_NO: Tensor,
    x_NI: Tensor | None,
    hidden_NP: Tensor | None,
    weight_OI: Tensor,
    down_RI: Tensor,
    up_RO: Tensor,
    segments: Segments,
    wanted: Wanted,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of x, ``down`` and ``up``, None where it is not wanted.

    x is needed for that of ``down`` alone, and the rank-r activation for that of ``up``.
    """
    g_x = g_down = g_up = None
    g_NP = g_NO.new_empty(len(g_NO), segments.rank) if wanted.down else None
    if wanted.x:
        g_x = _mapped(g_NO, weight_OI.T, None, up_RO, down_RI, g_NP, segments)
    elif g_NP is not None:
        _activate(g_NO, up_RO, g_NP, segments)
    if g_NP is not None and x_NI is not None:
        g_down = _factor(g_NP, x_NI, len(down_RI), segments).to(down_RI.dtype)
    if wanted.up and hidden_NP is not None:
        g_up = _factor(hidden_NP, g_NO, len(up_RO), segments).to(up_RO.dtype)
    return g_x, g_down, g_up


def _mapped(
    x_NK: Tensor,
    weight_JK: Tensor,
    bias_J: Tensor | None,
    first_RK: Tensor,
    second_RJ: Tensor,
    hidden_NP: Tensor | None,
    segments: Segments,
) -> Tensor:
    """Return ``x Wᵀ + b + scaleₖ · h second``, and write h where it has a place."""
    (N, K), J, P = x_NK.shape, second_RJ.shape[1], segments.rank
    x_NK, first_RK, second_RJ = rowwise(x_NK), rowwise(first_RK), rowwise(second_RJ)
    bias = None if bias_J is None else bias_J.contiguous()
    fused = cuts.most_fused(x_NK.dtype) >= P
    if not fused:
        hidden_NP = x_NK.new_empty(N, P) if hidden_NP is None else hidden_NP
        _activate(x_NK, first_RK, hidden_NP, segments)
    y_NJ = x_NK.new_empty(N, J)
    if y_NJ.numel() == 0:
        return y_NJ
    block = cuts.rank_block(P, x_NK.dtype)

    def launch(tiles: Tiles) -> None:
        table, scales = segments.tiles(tiles.blocks["BLOCK_N"], x_NK.device)
        grouped_lora_linear_fwd_kernel[(len(table) * blocks(J, tiles, "BLOCK_J"),)](
            table, scales, x_NK, weight_JK, bias, first_RK, second_RJ, hidden_NP, y_NJ,
            J, K, P, x_NK.stride(0), *weight_JK.stride(), first_RK.stride(0), second_RJ.stride(0),
            FUSED=fused, PRECISION=precision(), BLOCK_R=block, **tiles.blocks, **tiles.options,
        )  # fmt: skip

    dtypes = x_NK.dtype, first_RK.dtype
    key = rows_key(N), len(segments.rows), J, K, block, fused, weight_JK.stride(0) == 1, *dtypes
    ways = cuts.forward(x_NK.dtype, block)
    run("grouped_lora_linear_fwd_kernel", key, ways, launch, x_NK)
    return y_NJ


def _activate(x_NK: Tensor, first_RK: Tensor, hidden_NP: Tensor, segments: Segments) -> None:
    """Write ``x firstᵀ``."""
    (N, K), P = x_NK.shape, segments.rank
    if N == 0:
        return
    x_NK, first_RK = rowwise(x_NK), rowwise(first_RK)

    def launch(tiles: Tiles) -> None:
        table, _ = segments.tiles(tiles.blocks["BLOCK_N"], x_NK.device)
        grouped_lora_linear_fwd_kernel_hidden[len(table), blocks(P, tiles, "BLOCK_R")](
            table, x_NK, first_RK, hidden_NP, K, P, x_NK.stride(0), first_RK.stride(0),
            PRECISION=precision(), **tiles.blocks, **tiles.options,
        )  # fmt: skip

    key = rows_key(N), len(segments.rows), K, P, x_NK.dtype, first_RK.dtype
    run("grouped_lora_linear_fwd_kernel_hidden", key, cuts.hidden(x_NK.dtype), launch, x_NK)


def _factor(hidden_NP: Tensor, x_NJ: Tensor, ranks: int, segments: Segments) -> Tensor:
    """Return each segment's ``scaleₖ · hᵀ x`` one after another, shape ``(R, J)``, in fp32."""
    (N, P), J = hidden_NP.shape, x_NJ.shape[1]
    x_NJ = rowwise(x_NJ)
    splits = splits_of(max(segments.rows))
    gradient_SRJ = x_NJ.new_empty(splits, ranks, J, dtype=torch.float32)
    if gradient_SRJ.numel() == 0:
        return gradient_SRJ[0]

    def launch(tiles: Tiles) -> None:
        table, scales = segments.table(x_NJ.device)
        across, deep = blocks(J, tiles, "BLOCK_J"), blocks(P, tiles, "BLOCK_R")
        grouped_lora_linear_bwd_kernel_factor[across, deep, splits * len(table)](
            table, scales, hidden_NP, x_NJ, gradient_SRJ, J, ranks, P, splits, x_NJ.stride(0),
            PRECISION=precision(), **tiles.blocks, **tiles.options,
        )  # fmt: skip

    key = rows_key(N), len(segments.rows), J, P, x_NJ.dtype
    run("grouped_lora_linear_bwd_kernel_factor", key, cuts.factor(x_NJ.dtype), launch, x_NJ)
    return gradient_SRJ.sum(0) if splits > 1 else gradient_SRJ[0]
