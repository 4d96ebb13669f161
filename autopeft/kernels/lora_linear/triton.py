"""LoRA's linear map on a GPU: what launches its kernels.

Operands have two axes, N rows and what a row holds. The weight may have any strides, and rows may
lie apart; where the last axis of another operand is not contiguous, it is copied. Axes as in
``naive.py``; J is what a kernel writes, K what it sums over.
"""

from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from autopeft.kernels.lora_linear import cuts
from autopeft.kernels.lora_linear.kernels import (
    lora_linear_bwd_kernel_factor,
    lora_linear_fwd_kernel,
    lora_linear_fwd_kernel_hidden,
    lora_linear_fwd_kernel_norms,
)
from autopeft.kernels.tuning import Tiles, run

VARIANTS = cuts.VARIANTS
_ROWS_A_SPLIT = 1024
_MOST_SPLITS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropping:
    """Which share of the low-rank product's inputs is dropped, and the seed of which; 0 is none."""

    share: float = 0.0
    seed: int = 0


NOTHING = Dropping()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scaling:
    """A ratio for each output, and the place where the outputs are written as they are without."""

    ratio_O: Tensor
    plain_NO: Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which gradients are asked for."""

    x: bool
    down: bool
    up: bool


def forward(
    x_NI: Tensor,
    weight_OI: Tensor | None,
    bias_O: Tensor | None,
    down_RI: Tensor,
    up_RO: Tensor,
    residual_NO: Tensor | None,
    scale: float,
    dropping: Dropping = NOTHING,
    scaling: Scaling | None = None,
) -> tuple[Tensor, Tensor]:
    """Return ``ratio ∘ u + b + residual`` and ``h = drop(x) Dᵀ``, shape ``(N, R)``.

    u is ``x Wᵀ + scale · h U``; without ``scaling`` there is no ratio.
    """
    hidden_NR = x_NI.new_empty(len(x_NI), len(down_RI))
    y_NO = _mapped(
        x_NI, weight_OI, down_RI, up_RO, scale, hidden_NR, bias_O, residual_NO, scaling,
        drop_x=dropping,
    )  # fmt: skip
    return y_NO, hidden_NR


def backward(
    g_NO: Tensor,
    x_NI: Tensor | None,
    hidden_NR: Tensor | None,
    weight_OI: Tensor | None,
    down_RI: Tensor,
    up_RO: Tensor,
    scale: float,
    wanted: Wanted,
    dropping: Dropping = NOTHING,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of x, ``down`` and ``up``, None where it is not wanted.

    x is needed for that of ``down`` alone, and the rank-r activation for that of ``up``.
    """
    g_x = g_down = g_up = None
    g_NR = g_NO.new_empty(len(g_NO), len(down_RI)) if wanted.down else None
    if wanted.x:
        back_IO = None if weight_OI is None else weight_OI.T
        g_x = _mapped(g_NO, back_IO, up_RO, down_RI, scale, g_NR, drop_y=dropping)
    elif g_NR is not None:
        _activate(g_NO, up_RO, g_NR, NOTHING)
    if g_NR is not None and x_NI is not None:
        g_down = _factor(g_NR, x_NI, scale, dropping).to(down_RI.dtype)
    if wanted.up and hidden_NR is not None:
        g_up = _factor(hidden_NR, g_NO, scale, NOTHING).to(up_RO.dtype)
    return g_x, g_down, g_up


def row_norms(weight_OI: Tensor, down_RI: Tensor, up_RO: Tensor, scale: float) -> Tensor:
    """Return the norms of the rows of ``W + scale · Uᵀ D``, shape ``(O,)``, in fp32."""
    (O, I), R = weight_OI.shape, len(down_RI)  # axes
    down_RI, up_RO = rowwise(down_RI), rowwise(up_RO)
    norms_O = torch.empty(O, dtype=torch.float32, device=weight_OI.device)
    if O == 0:
        return norms_O

    def launch(tiles: Tiles) -> None:
        lora_linear_fwd_kernel_norms[(blocks(O, tiles, "BLOCK_O"),)](
            weight_OI, down_RI, up_RO, norms_O, O, I, R, *weight_OI.stride(), down_RI.stride(0),
            up_RO.stride(0), scale, PRECISION=precision(), **tiles.blocks, **tiles.options,
        )  # fmt: skip

    key = O, I, R, weight_OI.dtype, up_RO.dtype, weight_OI.stride(0) == 1
    run("lora_linear_fwd_kernel_norms", key, cuts.norms(), launch, weight_OI)
    return norms_O


def _mapped(
    x_NK: Tensor,
    weight_JK: Tensor | None,
    first_RK: Tensor,
    second_RJ: Tensor,
    scale: float,
    hidden_NR: Tensor | None,
    bias_J: Tensor | None = None,
    residual_NJ: Tensor | None = None,
    scaling: Scaling | None = None,
    *,
    drop_x: Dropping = NOTHING,
    drop_y: Dropping = NOTHING,
) -> Tensor:
    """Return ``ratio ∘ (x Wᵀ + scale · drop(h second)) + b + residual``.

    What has a place is written: h, and what is multiplied by the ratio.
    """
    (N, K), (R, J) = x_NK.shape, second_RJ.shape
    x_NK, first_RK, second_RJ = rowwise(x_NK), rowwise(first_RK), rowwise(second_RJ)
    bias = None if bias_J is None else bias_J.contiguous()
    residual = None if residual_NJ is None else rowwise(residual_NJ)
    ratio, plain = (scaling.ratio_O.contiguous(), scaling.plain_NO) if scaling else (None, None)
    fused = weight_JK is not None and cuts.most_fused(x_NK.dtype) >= R
    if not fused:
        hidden_NR = x_NK.new_empty(N, R) if hidden_NR is None else hidden_NR
        _activate(x_NK, first_RK, hidden_NR, drop_x)
    y_NJ = x_NK.new_empty(N, J)
    if y_NJ.numel() == 0:
        return y_NJ
    drop = drop_x if drop_x.share else drop_y
    strides_W = (0, 0) if weight_JK is None else weight_JK.stride()
    block = cuts.rank_block(R, x_NK.dtype)

    def launch(tiles: Tiles) -> None:
        grid = blocks(N, tiles, "BLOCK_N") * blocks(J, tiles, "BLOCK_J")
        lora_linear_fwd_kernel[(grid,)](
            x_NK, weight_JK, bias, first_RK, second_RJ, ratio, residual, hidden_NR, plain, y_NJ,
            N, J, K, R, x_NK.stride(0), *strides_W, first_RK.stride(0), second_RJ.stride(0),
            0 if residual is None else residual.stride(0), scale, drop.share, drop.seed,
            FUSED=fused, DROPS_X=drop_x.share > 0, DROPS_Y=drop_y.share > 0,
            PRECISION=precision(), BLOCK_R=block, **tiles.blocks, **tiles.options,
        )  # fmt: skip

    ways = cuts.forward(x_NK.dtype, block, drops=drop.share > 0)
    key = rows_key(N), J, K, block, fused, x_NK.dtype, first_RK.dtype, strides_W[0] == 1
    run("lora_linear_fwd_kernel", key, ways, launch, x_NK)
    return y_NJ


def _activate(x_NK: Tensor, first_RK: Tensor, hidden_NR: Tensor, drop: Dropping) -> None:
    """Write ``drop(x) firstᵀ``."""
    (N, K), R = x_NK.shape, len(first_RK)
    if hidden_NR.numel() == 0:
        return
    x_NK, first_RK = rowwise(x_NK), rowwise(first_RK)

    def launch(tiles: Tiles) -> None:
        grid = blocks(N, tiles, "BLOCK_N"), blocks(R, tiles, "BLOCK_R")
        lora_linear_fwd_kernel_hidden[grid](
            x_NK, first_RK, hidden_NR, N, K, R, x_NK.stride(0), first_RK.stride(0),
            drop.share, drop.seed, DROPS_X=drop.share > 0, PRECISION=precision(),
            **tiles.blocks, **tiles.options,
        )  # fmt: skip

    key = rows_key(N), K, R, x_NK.dtype, first_RK.dtype
    run("lora_linear_fwd_kernel_hidden", key, cuts.hidden(x_NK.dtype), launch, x_NK)


def _factor(hidden_NR: Tensor, x_NJ: Tensor, scale: float, drop: Dropping) -> Tensor:
    """Return ``scale · hᵀ drop(x)``, shape ``(R, J)``, in fp32: splits of the rows, summed up."""
    (N, R), J = hidden_NR.shape, x_NJ.shape[1]
    x_NJ = rowwise(x_NJ)
    splits = splits_of(N)
    gradient_SRJ = x_NJ.new_empty(splits, R, J, dtype=torch.float32)
    if gradient_SRJ.numel() == 0:
        return gradient_SRJ[0]

    def launch(tiles: Tiles) -> None:
        grid = blocks(J, tiles, "BLOCK_J"), blocks(R, tiles, "BLOCK_R"), splits
        lora_linear_bwd_kernel_factor[grid](
            hidden_NR, x_NJ, gradient_SRJ, N, J, R, triton.cdiv(N, splits), x_NJ.stride(0),
            scale, drop.share, drop.seed, DROPS_X=drop.share > 0, PRECISION=precision(),
            **tiles.blocks, **tiles.options,
        )  # fmt: skip

    key = rows_key(N), J, R, x_NJ.dtype
    run("lora_linear_bwd_kernel_factor", key, cuts.factor(x_NJ.dtype), launch, x_NJ)
    return gradient_SRJ.sum(0) if splits > 1 else gradient_SRJ[0]


def splits_of(rows: int) -> int:
    """Return into how many splits rows fall: by their number alone, so that sums are repeatable."""
    return min(max(1, int(triton.cdiv(rows, _ROWS_A_SPLIT))), _MOST_SPLITS)


def rowwise(x: Tensor) -> Tensor:
    """Return a tensor of two axes whose last is contiguous; a copy where it is not."""
    return x if x.stride(1) == 1 or x.shape[1] == 1 else x.contiguous()


def blocks(length: int, tiles: Tiles, name: str) -> int:
    """Return how many blocks of an axis there are."""
    return int(triton.cdiv(length, tiles.blocks[name]))


def rows_key(rows: int) -> int:
    """Return a number of rows, coarsely: lengths of batches vary, and what is best does not."""
    return int(triton.next_power_of_2(max(rows, 1)))


def precision() -> str:
    """Return how fp32 is multiplied: as in torch's own products on a GPU."""
    return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee"
