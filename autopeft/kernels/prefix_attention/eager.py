"""Prefix attention by PyTorch's fused attention, where it can be, and is the faster way.

Axes as in ``naive.py``.
"""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from autopeft.kernels.prefix_attention import naive


def prefix_attention(  # noqa: PLR0917  # operands, in the order of the formula
    query_BHTK: Tensor,
    key_BGSK: Tensor,
    value_BGSK: Tensor,
    prefix: tuple[Tensor, Tensor] | None,
    mask_BHTS: Tensor | None,
    scale: float,
    dropout: float = 0.0,
    *,
    causal: bool = False,
    softcap: float | None = None,
    gate_BTP: Tensor | None = None,
) -> Tensor:
    """Return what ``naive.prefix_attention`` returns, to rounding."""
    fused = softcap is None and gate_BTP is None
    if not fused or _fused_backward_is_slow(query_BHTK, key_BGSK, value_BGSK, prefix):
        return naive.prefix_attention(
            query_BHTK, key_BGSK, value_BGSK, prefix, mask_BHTS, scale, dropout,
            causal=causal, softcap=softcap, gate_BTP=gate_BTP,
        )  # fmt: skip
    plain = causal and prefix is None and mask_BHTS is None
    key, value, mask = naive.with_prefix(
        query_BHTK, key_BGSK, value_BGSK, prefix, mask_BHTS, causal and not plain
    )
    if mask is not None and mask.dtype != torch.bool:
        mask = mask.to(query_BHTK.dtype)
    return scaled_dot_product_attention(
        query_BHTK, key, value, attn_mask=mask, dropout_p=dropout, scale=scale, is_causal=plain
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
