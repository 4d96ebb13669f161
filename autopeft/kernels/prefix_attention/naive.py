"""Prefix attention, written out.

Axes: B batch, H heads, T queries, S keys, P prefix, K width of a head.
"""

import torch
from torch import Tensor
from torch.nn.functional import dropout as drop


def prefix_attention(  # noqa: PLR0917  # operands, in the order of the formula
    query_BHTK: Tensor,
    key_BHSK: Tensor,
    value_BHSK: Tensor,
    prefix: tuple[Tensor, Tensor] | None,
    mask_B1TS: Tensor | None,
    scale: float,
    dropout: float = 0.0,
) -> Tensor:
    """Return ``softmax(scale · Q [P_K; K]ᵀ) [P_V; V]``, shape ``(B, H, T, K)``.

    Li and Liang 2021, section 4.2. ``prefix`` holds keys and values of shape ``(P, H · K)``, which
    every query may see; ``mask_B1TS`` is true where a query may see a key, None for everywhere.
    """
    key, value, mask = with_prefix(key_BHSK, value_BHSK, prefix, mask_B1TS)
    weights_BHTS = query_BHTK @ key.transpose(-1, -2) * scale
    if mask is not None:
        weights_BHTS = weights_BHTS.masked_fill(~mask, torch.finfo(weights_BHTS.dtype).min)
    weights_BHTS = weights_BHTS.softmax(-1).to(value.dtype)
    return drop(weights_BHTS, dropout, training=dropout > 0) @ value


def with_prefix(
    key_BHSK: Tensor,
    value_BHSK: Tensor,
    prefix: tuple[Tensor, Tensor] | None,
    mask_B1TS: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Put the prefix in front of keys and values, and let the mask admit it."""
    if prefix is None:
        return key_BHSK, value_BHSK, mask_B1TS
    batch, heads, _, width = key_BHSK.shape
    key_BHPK, value_BHPK = (
        part.to(key_BHSK.dtype).view(-1, heads, width).transpose(0, 1).expand(batch, -1, -1, -1)
        for part in prefix
    )
    if mask_B1TS is not None:
        visible = mask_B1TS.new_ones((*mask_B1TS.shape[:-1], key_BHPK.shape[2]))
        mask_B1TS = torch.cat([visible, mask_B1TS], dim=-1)
    key = torch.cat([key_BHPK, key_BHSK], dim=2)
    return key, torch.cat([value_BHPK, value_BHSK], dim=2), mask_B1TS
