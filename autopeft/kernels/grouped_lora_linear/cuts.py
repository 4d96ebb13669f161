"""What is compiled ahead of time; the ways to cut are those of LoRA's linear map."""

from collections.abc import Iterator

import torch

from autopeft.kernels.grouped_lora_linear import kernels
from autopeft.kernels.lora_linear.cuts import (
    factor,
    forward,
    hidden,
    most_fused,
    rank_block,
    variant,
)
from autopeft.kernels.variants import Variant


def _variants() -> Iterator[Variant]:
    of = kernels.grouped_lora_linear_fwd_kernel
    for dtype in (torch.bfloat16, torch.float32):
        for block in sorted({16, most_fused(dtype)}):
            for tiles in forward(dtype, block):
                fused = {"BLOCK_R": block, "FUSED": True}
                yield variant(of, "forward", dtype, tiles, weight_k=1, **fused)
                yield variant(of, "backward", dtype, tiles, weight_j=1, p_bias=None, **fused)
        block = rank_block(1 + most_fused(dtype), dtype)
        for tiles in forward(dtype, block):
            yield variant(of, "large rank", dtype, tiles, weight_k=1, BLOCK_R=block, FUSED=False)
        for tiles in hidden(dtype):
            yield variant(kernels.grouped_lora_linear_fwd_kernel_hidden, "plain", dtype, tiles)
        for tiles in factor(dtype):
            yield variant(kernels.grouped_lora_linear_bwd_kernel_factor, "plain", dtype, tiles)


VARIANTS = tuple(_variants())
