"""Prefix attention by PyTorch's fused attention, where that is the faster way.

Axes as in ``naive.py``.
"""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from autopeft.kernels.prefix_attention import naive


def prefix_attention(  # noqa: PLR0917  # operands, in the order of the formula
    query_BHTK: Tensor,
    key_BHSK: Tensor,
    value_BHSK: Tensor,
    prefix: tuple[Tensor, Tensor] | None,
    mask_B1TS: Tensor | None,
    scale: float,
    dropout: float = 0.0,
) -> Tensor:
    """Return what ``naive.prefix_attention`` returns, to rounding."""
    if _fused_backward_is_slow(query_BHTK, key_BHSK, value_BHSK, prefix):
        return naive.prefix_attention(
            query_BHTK, key_BHSK, value_BHSK, prefix, mask_B1TS, scale, dropout
        )
    key, value, mask = naive.with_prefix(key_BHSK, value_BHSK, prefix, mask_B1TS)
    return scaled_dot_product_attention(
        query_BHTK, key, value, attn_mask=mask, dropout_p=dropout, scale=scale
    )


def _fused_backward_is_slow(
    query: Tensor, key: Tensor, value: Tensor, prefix: tuple[Tensor, Tensor] | None
) -> bool:
    # On a CPU the bf16 backward of fused attention takes several times that of the written-out
    # form (benchmarks/attention.py); its forward alone is the faster one.
    learns = torch.is_grad_enabled() and (
        prefix is not None or query.requires_grad or key.requires_grad or value.requires_grad
    )
    return learns and query.dtype is torch.bfloat16 and query.device.type == "cpu"
