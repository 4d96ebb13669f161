"""Prefix attention on a CPU: one of three ways to what the definition says.

In single precision, and without gradients, it is PyTorch's fused attention. In half precision the
backward of that takes several times as long, for short texts, as one that is written out. So what
learns is written out; and where there are many keys, the weights are made again in the backward,
piece by piece (``chunked.py``), which keeps far less, and takes about as long or less.
``benchmarks/attention.py`` has the numbers.

Axes as in ``naive.py``.
"""

import torch
from torch import Tensor
from torch.nn.functional import dropout as drop
from torch.nn.functional import scaled_dot_product_attention

from autopeft.kernels.prefix_attention import naive
from autopeft.kernels.prefix_attention.chunked import by_groups, chunked, finite, weights

LONG = 192
"""With more keys than this weights are not kept: about where they outgrow what is."""


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
) -> Tensor:
    """Return what ``naive.prefix_attention`` returns, to rounding; bounds and gates it has none."""
    operands = query_BHTK, key_BGSK, value_BGSK, prefix, mask_BHTS, scale, dropout
    if not _fused_backward_is_slow(query_BHTK, key_BGSK, value_BGSK, prefix):
        return _fused(*operands, causal)
    # The operands have the precision that autocast asks for; it would make weights of twice the
    # size of them.
    with torch.autocast(query_BHTK.device.type, enabled=False):
        return _written_out(*operands, causal)


def _fused(  # noqa: PLR0917  # as above
    query: Tensor,
    key: Tensor,
    value: Tensor,
    prefix: tuple[Tensor, Tensor] | None,
    mask: Tensor | None,
    scale: float,
    dropout: float,
    causal: bool,
) -> Tensor:
    plain = causal and prefix is None and mask is None
    key, value, mask = naive.with_prefix(query, key, value, prefix, mask, causal and not plain)
    return scaled_dot_product_attention(
        query, key, value, attn_mask=finite(mask, query.dtype), dropout_p=dropout, scale=scale,
        is_causal=plain, enable_gqa=key.shape[1] != query.shape[1],
    )  # fmt: skip


def _written_out(  # noqa: PLR0917  # as above
    query: Tensor,
    key: Tensor,
    value: Tensor,
    prefix: tuple[Tensor, Tensor] | None,
    mask: Tensor | None,
    scale: float,
    dropout: float,
    causal: bool,
) -> Tensor:
    keys = key.shape[2] + (0 if prefix is None else len(prefix[0]))
    if keys > LONG and not dropout and (mask is None or not mask.requires_grad):
        return chunked(query, key, value, prefix, mask, scale, causal=causal)
    key, value, mask = naive.with_prefix(query, key, value, prefix, mask, causal)
    weights_BHTS = weights(query, key, finite(mask, query.dtype), scale)
    out = by_groups(drop(weights_BHTS, dropout, training=dropout > 0), key) @ value
    return out.view(*query.shape[:3], value.shape[3])


def _fused_backward_is_slow(
    query: Tensor, key: Tensor, value: Tensor, prefix: tuple[Tensor, Tensor] | None
) -> bool:
    learns = torch.is_grad_enabled() and (
        prefix is not None or query.requires_grad or key.requires_grad or value.requires_grad
    )
    return learns and query.dtype is torch.bfloat16 and query.device.type == "cpu"
