"""How the kernels of the bottleneck may be cut, and so what of them is compiled ahead of time.

What spilled registers or ran out of shared memory when it was compiled for the GPUs in ``ahead.py``
is not among the ways; fp32, which has twice the bytes, has smaller blocks.
"""

from collections.abc import Iterator

import triton

from autopeft.kernels.bottleneck.kernels import (
    bottleneck_bwd_kernel_factors,
    bottleneck_bwd_kernel_rows,
    bottleneck_fwd_kernel,
)
from autopeft.kernels.tuning import Tiles
from autopeft.kernels.variants import Variant

WIDEST = 256
"""The widest bottleneck that one program holds; ``registered.py`` adds up wider ones in parts."""


def row_tiles(H: int, size: int) -> tuple[Tiles, ...]:
    """Return the ways to cut the kernels of whole bottlenecks, for elements of ``size`` bytes."""
    BH = max(16, triton.next_power_of_2(H))
    if size == 4:
        return (_rows(32, BH, 32, 4) if BH <= 64 else _rows(16, BH, 16, 8 if BH > 128 else 4),)
    if BH <= 64:
        return _rows(32, BH, 64, 4), _rows(64, BH, 64, 4)
    if BH <= 128:
        return _rows(16, BH, 32, 4), _rows(32, BH, 32, 8)
    return (_rows(16, BH, 32, 4),)


def _rows(rows: int, BH: int, features: int, warps: int) -> Tiles:
    blocks = {"BN": rows, "BH": BH, "BI": features, "BO": features}
    return Tiles(blocks=blocks, warps=warps, stages=2)


def factor_tiles(H: int, size: int) -> tuple[Tiles, ...]:
    """Return the ways to cut the sums over rows, for elements of ``size`` bytes."""
    if H <= 16:
        blocks = {"BN": 32, "BH": 16, "BJ": 64}
        return tuple(Tiles(blocks=blocks, warps=4, stages=stages) for stages in (2, 3))
    blocks = {"BN": 32, "BH": 64, "BJ": 64}
    many = Tiles(blocks=blocks, warps=8, stages=3)
    return (many,) if size == 4 else (Tiles(blocks=blocks, warps=4, stages=2), many)


_ROWS = {"scale": "fp32", "N": "i32", "I": "i32", "H": "i32", "O": "i32"}


def _variants() -> Iterator[Variant]:
    """Narrow, usual and widest bottlenecks, bare and with all that they may have.

    With x of half precision the factors are of it too, or masters of single precision.
    """
    for x, factor in ("bf16", "bf16"), ("bf16", "fp32"), ("fp16", "fp32"), ("fp32", "fp32"):
        size = 4 if x == "fp32" else 2
        for H in 8, 64, 128, WIDEST:
            for tiles in row_tiles(H, size):
                yield _forward_variant(x, factor, tiles, whole=True)
                yield _rows_variant(x, factor, tiles, whole=True)
            yield _forward_variant(x, factor, row_tiles(H, size)[0], whole=False)
            yield _rows_variant(x, factor, row_tiles(H, size)[0], whole=False)
        for tiles in (each for H in (16, 64) for each in factor_tiles(H, size)):
            yield _factors_variant(x, tiles, left=True)
            yield _factors_variant(x, tiles, left=False)


def _name(x: str, factor: str, tiles: Tiles, whole: bool) -> str:
    blocks = "x".join(str(size) for size in tiles.blocks.values())
    return f"{x} {factor} {blocks}{' norm' if whole else ''}"


def _forward_variant(x: str, factor: str, tiles: Tiles, *, whole: bool) -> Variant:
    norm = dict.fromkeys(("p_weight", "p_shift"), f"*{factor}") | {"p_residual": f"*{x}"}
    return Variant(
        name=f"bottleneck_fwd {_name(x, factor, tiles, whole)}",
        kernel=bottleneck_fwd_kernel,
        types={
            **dict.fromkeys(("p_x", "p_y", "p_inner"), f"*{x}"),
            **dict.fromkeys(("p_down", "p_bias", "p_up", "p_last"), f"*{factor}"),
            **dict.fromkeys(("p_mean", "p_rstd"), "*fp32"),
            **(norm if whole else {}),
            **_ROWS,
            "epsilon": "fp32",
        },
        constants={
            **({} if whole else dict.fromkeys(norm)),
            **dict.fromkeys(("NORM", "RESIDUAL", "KEEP"), whole),
            "ACTIVATION": "gelu" if whole else "relu",
        },
        tiles=tiles,
    )


def _rows_variant(x: str, factor: str, tiles: Tiles, *, whole: bool) -> Variant:
    norm = {"p_weight": f"*{factor}", "p_slant": "*fp32", "p_offset": "*fp32"}
    return Variant(
        name=f"bottleneck_bwd_rows {_name(x, factor, tiles, whole)}",
        kernel=bottleneck_bwd_kernel_rows,
        types={
            **dict.fromkeys(("p_g", "p_x", "p_inner", "p_d_inner", "p_d_x"), f"*{x}"),
            **dict.fromkeys(("p_down", "p_up"), f"*{factor}"),
            **dict.fromkeys(("p_mean", "p_rstd"), "*fp32"),
            **(norm if whole else {}),
            **_ROWS,
        },
        constants={
            **({} if whole else dict.fromkeys(norm)),
            **dict.fromkeys(("NORM", "INPUT", "ONTO"), whole),
            "ACTIVATION": "gelu" if whole else "relu",
        },
        tiles=tiles,
    )


def _factors_variant(x: str, tiles: Tiles, *, left: bool) -> Variant:
    stats = ("p_mean", "p_rstd")
    written, absent = ("p_left_sums", "p_right_sums") if left else ("p_right_sums", "p_left_sums")
    return Variant(
        name=f"bottleneck_bwd_factors {_name(x, '', tiles, left)}",
        kernel=bottleneck_bwd_kernel_factors,
        types={
            **dict.fromkeys(("p_left", "p_right"), f"*{x}"),
            **dict.fromkeys((*(stats if left else ()), "p_products", written), "*fp32"),
            **dict.fromkeys(("rows", "N", "H", "J"), "i32"),
        },
        constants={
            **dict.fromkeys((absent, *(() if left else stats))),
            "ACTIVATION": "" if left else "gelu",
            "NORM": left,
            "LEFT": left,
        },
        tiles=tiles,
    )


VARIANTS = tuple(_variants())
"""What is compiled ahead of time."""
