"""Prefix attention, written out.

Axes: B batch, H heads of queries, G heads of keys and values (of which H is a multiple), T queries,
S keys, P prefix, K width of a head.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import dropout as drop


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
    """Return ``softmax(scale · Q [P_K; K]ᵀ) [P_V; V]``, shape ``(B, H, T, K)``.

    Li and Liang 2021, section 4.2. ``prefix`` holds keys and values of shape ``(P, G · K)``, which
    every query may see. ``mask_BHTS`` is true where a query may see a key, or a number that is
    added to its score; H may be 1 in it, and None is everywhere. ``causal`` hides from each query
    the keys after it. ``softcap`` c bounds scores as ``c · tanh(score / c)``. ``gate_BTP`` is each
    query's factor on the keys and the values of the prefix.
    """
    key, value, mask = with_prefix(query_BHTK, key_BGSK, value_BGSK, prefix, mask_BHTS, causal)
    key, value = _to_heads(key, query_BHTK.shape[1]), _to_heads(value, query_BHTK.shape[1])
    factor_B1TS = None if gate_BTP is None else _padded(gate_BTP, key.shape[2])
    weights_BHTS = query_BHTK @ key.transpose(-1, -2) * scale
    if factor_B1TS is not None:
        weights_BHTS = weights_BHTS * factor_B1TS
    if softcap is not None:
        weights_BHTS = softcap * torch.tanh(weights_BHTS / softcap)
    weights_BHTS = _masked(weights_BHTS, mask).softmax(-1).to(value.dtype)
    if factor_B1TS is not None:
        weights_BHTS = weights_BHTS * factor_B1TS.to(value.dtype)
    return drop(weights_BHTS, dropout, training=dropout > 0) @ value


def with_prefix(  # noqa: PLR0917  # as above
    query_BHTK: Tensor,
    key_BGSK: Tensor,
    value_BGSK: Tensor,
    prefix: tuple[Tensor, Tensor] | None,
    mask_BHTS: Tensor | None,
    causal: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Put the prefix in front of keys and values; the mask comes back as wide as the keys."""
    mask = wide_mask(query_BHTK, key_BGSK, prefix, mask_BHTS, causal)
    if prefix is None:
        return key_BGSK, value_BGSK, mask
    key_GPK, value_GPK = learned(prefix, key_BGSK, value_BGSK)
    key = torch.cat([key_GPK.expand(len(key_BGSK), -1, -1, -1), key_BGSK], dim=2)
    value = torch.cat([value_GPK.expand(len(value_BGSK), -1, -1, -1), value_BGSK], dim=2)
    return key, value, mask


def learned(
    prefix: tuple[Tensor, Tensor], key_BGSK: Tensor, value_BGSK: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the prefix by heads, in the type of the keys and values before which it belongs."""
    key_GPK, value_GPK = (
        part.to(x.dtype).reshape(len(part), x.shape[1], x.shape[3]).transpose(0, 1)
        for part, x in zip(prefix, (key_BGSK, value_BGSK), strict=True)
    )
    return key_GPK, value_GPK


def wide_mask(
    query_BHTK: Tensor,
    key_BGSK: Tensor,
    prefix: tuple[Tensor, Tensor] | None,
    mask: Tensor | None,
    causal: bool,
) -> Tensor | None:
    """Return the mask of prefix and sequence: it admits the prefix, and hides what comes later."""
    if causal:
        mask = with_past_only(mask, query_BHTK.shape[2], key_BGSK.shape[2], query_BHTK.device)
    if mask is None or prefix is None:
        return mask
    shape = (*mask.shape[:-1], len(prefix[0]))
    free = mask.new_ones(shape) if mask.dtype == torch.bool else mask.new_zeros(shape)
    return torch.cat([free, mask], dim=-1)


def with_past_only(mask: Tensor | None, queries: int, keys: int, device: torch.device) -> Tensor:
    """Hide from each query the keys after it; the first query stands at the first key."""
    past_TS = torch.ones(queries, keys, dtype=torch.bool, device=device).tril()
    if mask is None:
        return past_TS[None, None]
    if mask.dtype == torch.bool:
        return mask & past_TS
    # Not by the lowest number of the mask: one of a wider type may be the lowest of the scores.
    return mask.masked_fill(~past_TS, -math.inf)


def _masked(scores_BHTS: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return scores_BHTS
    if mask.dtype == torch.bool:
        return scores_BHTS.masked_fill(~mask, torch.finfo(scores_BHTS.dtype).min)
    # Infinities alone have no softmax.
    scores_BHTS = scores_BHTS + mask
    return scores_BHTS.clamp(min=torch.finfo(scores_BHTS.dtype).min)


def _to_heads(x_BGSK: Tensor, heads: int) -> Tensor:
    groups = x_BGSK.shape[1]
    return x_BGSK if groups == heads else x_BGSK.repeat_interleave(heads // groups, dim=1)


def _padded(gate_BTP: Tensor, keys: int) -> Tensor:
    # What is no prefix is taken as it is.
    more = keys - gate_BTP.shape[-1]
    return torch.nn.functional.pad(gate_BTP, (0, more), value=1.0)[:, None]
