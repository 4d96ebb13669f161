"""Scale and shift on a GPU: one pass forward, one pass backward. ``README.md`` has the formulas.

Axes: N rows, O features, S features that have factors, P parts of the rows. In kernels ``b_`` is a
value, ``p_`` a pointer, ``o_`` an offset, ``m_`` a mask.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from autopeft.kernels.tuning import Tiles, run
from autopeft.kernels.variants import Variant

_FORWARD = (
    Tiles(blocks={"BN": 8, "BO": 256}, warps=4, stages=2),
    Tiles(blocks={"BN": 4, "BO": 1024}, warps=8, stages=2),
)
_BACKWARD = (
    Tiles(blocks={"BN": 16, "BO": 128}, warps=4, stages=2),
    Tiles(blocks={"BN": 16, "BO": 256}, warps=8, stages=2),
)


@triton.jit
def scale_shift_fwd_kernel(
    p_x,
    p_scale,
    p_shift,
    p_y,
    N,
    O,
    S,
    start,
    SHIFT: tl.constexpr,
    BN: tl.constexpr,
    BO: tl.constexpr,
):
    o_N = tl.program_id(0).to(tl.int64) * BN + tl.arange(0, BN)
    o_O = tl.program_id(1) * BO + tl.arange(0, BO)
    m_NO = (o_N < N)[:, None] & (o_O < O)[None, :]
    m_S = (o_O >= start) & (o_O < start + S)
    o_NO = o_N[:, None] * O + o_O[None, :]
    b_y = tl.load(p_x + o_NO, m_NO, 0.0).to(tl.float32)
    b_y *= tl.load(p_scale + o_O - start, m_S, 1.0).to(tl.float32)[None, :]
    if SHIFT:
        b_y += tl.load(p_shift + o_O - start, m_S, 0.0).to(tl.float32)[None, :]
    tl.store(p_y + o_NO, b_y, m_NO)


@triton.jit
def scale_shift_bwd_kernel(
    p_g,
    p_x,
    p_scale,
    p_d_x,
    p_scale_sums,
    p_shift_sums,
    rows,
    N,
    O,
    S,
    start,
    INPUT: tl.constexpr,
    SCALE: tl.constexpr,
    SHIFT: tl.constexpr,
    BN: tl.constexpr,
    BO: tl.constexpr,
):
    part = tl.program_id(1).to(tl.int64)
    o_O = tl.program_id(0) * BO + tl.arange(0, BO)
    m_O = o_O < O
    m_S = (o_O >= start) & (o_O < start + S)
    b_scale = tl.load(p_scale + o_O - start, m_S, 1.0).to(tl.float32)
    b_scale_sum = tl.zeros((BO,), tl.float32)
    b_shift_sum = tl.zeros((BO,), tl.float32)
    for step in range(0, rows, BN):
        o_row = step + tl.arange(0, BN)
        o_N = part * rows + o_row
        m_NO = ((o_row < rows) & (o_N < N))[:, None] & m_O[None, :]
        o_NO = o_N[:, None] * O + o_O[None, :]
        b_g = tl.load(p_g + o_NO, m_NO, 0.0).to(tl.float32)
        if SCALE:
            b_x = tl.load(p_x + o_NO, m_NO, 0.0).to(tl.float32)
            b_scale_sum += tl.sum(b_g * b_x, 0)
        if SHIFT:
            b_shift_sum += tl.sum(b_g, 0)
        if INPUT:
            tl.store(p_d_x + o_NO, b_g * b_scale[None, :], m_NO)
    if SCALE:
        tl.store(p_scale_sums + part * S + o_O - start, b_scale_sum, m_S)
    if SHIFT:
        tl.store(p_shift_sums + part * S + o_O - start, b_shift_sum, m_S)


def forward(x_NO: Tensor, scale_S: Tensor, shift_S: Tensor | None, start: int) -> Tensor:
    """Return the result; what is not contiguous is copied."""
    x_NO, scale_S = x_NO.contiguous(), scale_S.contiguous()
    shift_S = None if shift_S is None else shift_S.contiguous()
    y_NO = torch.empty_like(x_NO)
    N, O = x_NO.shape  # axes

    def launch(tiles: Tiles) -> None:
        grid = triton.cdiv(N, tiles.blocks["BN"]), triton.cdiv(O, tiles.blocks["BO"])
        scale_shift_fwd_kernel[grid](
            x_NO, scale_S, shift_S, y_NO, N, O, len(scale_S), start,
            SHIFT=shift_S is not None, **tiles.blocks, **tiles.options,
        )  # fmt: skip

    if y_NO.numel():
        key = O, x_NO.dtype, scale_S.dtype, shift_S is not None
        run("scale_shift_fwd", key, _FORWARD, launch, x_NO)
    return y_NO


def backward(  # operands, then what is wanted
    g_NO: Tensor,
    x_NO: Tensor,
    scale_S: Tensor,
    start: int,
    wants_x: bool,
    wants_scale: bool,
    wants_shift: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients, those of the factors in fp32; empty where they are not wanted.

    Sums over rows are in one order always, without atomics.
    """
    g_NO, x_NO, scale_S = g_NO.contiguous(), x_NO.contiguous(), scale_S.contiguous()
    (N, O), S = x_NO.shape, len(scale_S)  # axes
    parts, rows = _parted(N, O)
    d_x = torch.empty_like(x_NO) if wants_x else x_NO.new_empty(0)
    scale_sums, shift_sums = (
        x_NO.new_empty((parts, S) if wanted else (0, 0), dtype=torch.float32)
        for wanted in (wants_scale, wants_shift)
    )

    def launch(tiles: Tiles) -> None:
        scale_shift_bwd_kernel[triton.cdiv(O, tiles.blocks["BO"]), parts](
            g_NO, x_NO, scale_S, d_x, scale_sums, shift_sums, rows, N, O, S, start,
            INPUT=wants_x, SCALE=wants_scale, SHIFT=wants_shift, **tiles.blocks, **tiles.options,
        )  # fmt: skip

    if O:
        key = O, x_NO.dtype, scale_S.dtype, wants_x, wants_scale, wants_shift
        run("scale_shift_bwd", key, _BACKWARD, launch, x_NO)
    return d_x, scale_sums.sum(0), shift_sums.sum(0)


def _parted(N: int, O: int) -> tuple[int, int]:  # axes
    """Return into how many parts rows are cut, so that there is work for a GPU, and their size.

    By the shape alone, so that the order of a sum is the same on every device.
    """
    parts = max(1, min(triton.cdiv(N, 64), 1024 // triton.cdiv(max(O, 1), 128)))
    rows = triton.cdiv(triton.cdiv(N, parts), 16) * 16
    return max(1, triton.cdiv(N, max(rows, 1))), rows


def _variants() -> Iterator[Variant]:
    numbers = dict.fromkeys(("N", "O", "S", "start"), "i32")
    for x, factor in ("bf16", "bf16"), ("bf16", "fp32"), ("fp16", "fp32"), ("fp32", "fp32"):
        for shift in True, False:
            for tiles in _FORWARD:
                yield Variant(
                    name=f"scale_shift_fwd {_name(x, factor, tiles, shift)}",
                    kernel=scale_shift_fwd_kernel,
                    types={
                        "p_x": f"*{x}",
                        "p_scale": f"*{factor}",
                        **({"p_shift": f"*{factor}"} if shift else {}),
                        "p_y": f"*{x}",
                        **numbers,
                    },
                    constants={"SHIFT": shift} | ({} if shift else {"p_shift": None}),
                    tiles=tiles,
                )
            for tiles in _BACKWARD:
                yield Variant(
                    name=f"scale_shift_bwd {_name(x, factor, tiles, shift)}",
                    kernel=scale_shift_bwd_kernel,
                    types={
                        **dict.fromkeys(("p_g", "p_x", "p_d_x"), f"*{x}"),
                        "p_scale": f"*{factor}",
                        **dict.fromkeys(("p_scale_sums", "p_shift_sums"), "*fp32"),
                        **numbers,
                        "rows": "i32",
                    },
                    constants={"INPUT": True, "SCALE": True, "SHIFT": shift},
                    tiles=tiles,
                )


def _name(x: str, factor: str, tiles: Tiles, shift: bool) -> str:
    blocks = "x".join(str(size) for size in tiles.blocks.values())
    return f"{x} {factor} {blocks}{' shift' if shift else ''}"


VARIANTS = tuple(_variants())
"""What is compiled ahead of time."""
