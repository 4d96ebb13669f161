"""How the kernels of LoRA's linear map may be cut, and so what of them is compiled ahead of time.

What spilled registers or ran out of shared memory when it was compiled for the GPUs in ``ahead.py``
is not among the ways; fp32, which has twice the bytes and no tensor cores, has smaller blocks.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import triton

from autopeft.kernels.lora_linear import kernels
from autopeft.kernels.tuning import Tiles
from autopeft.kernels.variants import Variant


def most_fused(dtype: torch.dtype) -> int:
    """Return up to which rank a program holds the activation of its rows beside their outputs."""
    return 16 if dtype == torch.float32 else 64


def rank_block(rank: int, dtype: torch.dtype) -> int:
    """Return how many of the rank a program takes at once: 16 at least, as products need.

    Above ``most_fused`` it reads the activation, piece by piece.
    """
    if rank > most_fused(dtype):
        return 16 if dtype == torch.float32 else 32
    return max(16, int(triton.next_power_of_2(rank)))


def forward(dtype: torch.dtype, block: int, *, drops: bool = False) -> Sequence[Tiles]:
    """Return the ways to cut the forward, and the input gradient, for a block of the rank.

    What decides what is dropped takes many registers.
    """
    if dtype == torch.float32:
        return (_tiles(64, 64, 16, 8, 2),)
    if drops:
        return (_tiles(32, 64, 64, 4, 2),)
    narrow = (_tiles(64, 128, 32, 4, 3), _tiles(32, 64, 64, 4, 2))
    return narrow if block > 32 else (*narrow, _tiles(128, 128, 32, 8, 3))


def _tiles(rows: int, outputs: int, inputs: int, warps: int, stages: int) -> Tiles:
    blocks = {"BLOCK_N": rows, "BLOCK_J": outputs, "BLOCK_K": inputs}
    return Tiles(blocks=blocks, warps=warps, stages=stages)


def hidden(dtype: torch.dtype) -> Sequence[Tiles]:
    """Return the ways to cut the product with the first factor alone."""
    if dtype == torch.float32:
        return (_factored(4, BLOCK_N=32, BLOCK_K=32, BLOCK_R=16),)
    return (
        _factored(4, BLOCK_N=64, BLOCK_K=64, BLOCK_R=16),
        _factored(4, BLOCK_N=64, BLOCK_K=64, BLOCK_R=64),
    )


def factor(dtype: torch.dtype) -> Sequence[Tiles]:
    """Return the ways to cut the gradient of a factor."""
    if dtype == torch.float32:
        return (_factored(4, BLOCK_N=32, BLOCK_J=32, BLOCK_R=16),)
    return (
        _factored(4, BLOCK_N=32, BLOCK_J=64, BLOCK_R=16),
        _factored(4, BLOCK_N=32, BLOCK_J=128, BLOCK_R=64),
    )


def norms() -> Sequence[Tiles]:
    """Return the way to cut the norms of rows."""
    return (_factored(4, BLOCK_O=32, BLOCK_I=32, BLOCK_R=16),)


def _factored(warps: int, **blocks: int) -> Tiles:
    return Tiles(blocks=blocks, warps=warps, stages=2)


_PLAIN: Mapping[str, Any] = {"FUSED": True, "DROPS_X": False, "DROPS_Y": False}
_RATIO = {**_PLAIN, "weight_k": 1}
_FORWARD = {**_RATIO, "p_ratio": None, "p_plain": None}
_ALONE = dict.fromkeys(("p_bias", "p_ratio", "p_residual", "p_plain"))
_BACKWARD = {**_PLAIN, **_ALONE, "weight_j": 1}


def _variants() -> Iterator[Variant]:
    """Yield all ways for both types, and dropout and large ranks in the first of them."""
    of = kernels.lora_linear_fwd_kernel
    for dtype in (torch.bfloat16, torch.float32):
        for block in sorted({16, most_fused(dtype)}):
            for tiles in forward(dtype, block):
                yield variant(of, "forward", dtype, tiles, BLOCK_R=block, **_FORWARD)
                yield variant(of, "ratio", dtype, tiles, BLOCK_R=block, **_RATIO)
                yield variant(of, "backward", dtype, tiles, BLOCK_R=block, **_BACKWARD)
        block = most_fused(dtype)
        for tiles in forward(dtype, block, drops=True):
            dropped = {**_RATIO, "DROPS_X": True, "BLOCK_R": block}
            yield variant(of, "ratio dropped", dtype, tiles, **dropped)
            dropped = {**_FORWARD, "DROPS_X": True, "BLOCK_R": block}
            yield variant(of, "forward dropped", dtype, tiles, **dropped)
            dropped = {**_BACKWARD, "DROPS_Y": True, "BLOCK_R": block}
            yield variant(of, "backward dropped", dtype, tiles, **dropped)
        block = rank_block(1 + block, dtype)
        for tiles in forward(dtype, block):
            for name, kind in (("large rank", _FORWARD), ("ratio, large rank", _RATIO)):
                large = {**kind, "FUSED": False, "BLOCK_R": block}
                yield variant(of, name, dtype, tiles, **large)
        for kernel, cut in (
            (kernels.lora_linear_fwd_kernel_hidden, hidden),
            (kernels.lora_linear_bwd_kernel_factor, factor),
        ):
            for tiles in cut(dtype):
                yield variant(kernel, "plain", dtype, tiles, DROPS_X=False)
            yield variant(kernel, "dropped", dtype, tiles, DROPS_X=True)

        for strides in ({"weight_i": 1}, {"weight_o": 1}):
            name = f"by {'rows' if 'weight_i' in strides else 'columns'}"
            for tiles in norms():
                yield variant(kernels.lora_linear_fwd_kernel_norms, name, dtype, tiles, **strides)


_KINDS = {torch.bfloat16: "bf16", torch.float32: "fp32"}
_SINGLE = {
    "p_down",
    "p_up",
    "p_norms",
    "p_ratio",
    "p_first",
    "p_second",
    "p_gradient",
    "p_scales",
    "scale",
    "dropout",
}
_TABLES = {"p_tiles", "p_segments"}


def variant(kernel: Any, name: str, dtype: torch.dtype, tiles: Tiles, **constants: Any) -> Variant:
    """Describe a kernel for operands of a type, and factors in fp32."""
    constants = {"PRECISION": "ieee", **constants}
    cut = "x".join(str(size) for size in tiles.blocks.values())
    rank = f" rank {constants['BLOCK_R']}" if "BLOCK_R" in constants else ""
    return Variant(
        name=f"{kernel.__name__} {name} {_KINDS[dtype]} {cut}{rank}",
        kernel=kernel,
        types={
            argument: _type(argument, _KINDS[dtype])
            for argument in kernel.arg_names
            if argument not in constants and argument not in tiles.blocks
        },
        constants=constants,
        tiles=tiles,
    )


def _type(argument: str, kind: str) -> str:
    if argument in _TABLES:
        return "*i32"
    if argument.startswith("p_"):
        return "*fp32" if argument in _SINGLE else f"*{kind}"
    return "fp32" if argument in _SINGLE else "i32"


VARIANTS = tuple(_variants())
