"""What attention looks at beside the sequence: the attention that every backbone is loaded with.

transformers calls `attend` in every attention module of a model that is loaded with the attention
implementation `ATTENTION`. A method that gives a module something more to look at puts a child into
it (`give`), which says at every call what that is (`Extra`). Several methods may do so in one
module. Masks, causal order, grouped-query attention, position biases and soft caps are the
backbone's own and hold for its tokens; what is learned is seen by every query, at no position.

Axes: B batch, T queries, P learned positions, I width of all keys, O width of all values.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from autopeft.errors import BackboneError
from autopeft.kernels.prefix_attention.naive import with_past_only
from autopeft.kernels.prefix_attention.operator import prefix_attention
from autopeft.methods.places import Block, Undo

ATTENTION = "autopeft"
_CHILD = "autopeft_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """Learned keys and values that every query may see.

    ``keys`` has shape ``(P, I)`` and ``values`` ``(P, O)``. ``gate``, of shape ``(B, T, P)``, is
    each query's factor on both, None where they are taken as they are. Where ``apart`` is None they
    share the softmax with the keys of the sequence; otherwise they have one of their own, whose
    output is added times this factor.
    """

    keys: Tensor
    values: Tensor
    gate: Tensor | None = None
    apart: Tensor | None = None


def give(block: Block, site: str, method: str, extra: nn.Module) -> Undo:
    """Let the attention module at a site look at what ``extra()`` returns, an `Extra`."""
    attention = block.original(site)
    name = _CHILD + method
    attention.add_module(name, extra)
    return lambda: delattr(attention, name)


def attend(  # noqa: PLR0917  # transformers' attention interface
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    position_bias: Tensor | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend over the sequence and over what methods have given the module.

    Follows transformers' attention interface: ``(batch, heads, tokens, width)`` in,
    ``(batch, tokens, heads, width)`` out, no weights. Without a mask a causal module hides what
    comes later, as in transformers' own ``sdpa``. Sliding windows are part of the mask.

    Raises:
        BackboneError: The module has attention sinks.
    """
    if s_aux is not None:
        raise BackboneError(
            f"{type(module).__name__} has attention sinks, which autopeft does not know: take a "
            "model without them"
        )
    causal = bool(getattr(module, "is_causal", True)) if is_causal is None else is_causal
    causal = causal and attention_mask is None and query.shape[2] > 1
    mask = attention_mask
    if position_bias is not None:
        mask, causal = _biased(position_bias, mask, query.shape[2], causal=causal), False
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    extras = [child() for name, child in module.named_children() if name.startswith(_CHILD)]
    prefix, gate = _joined([extra for extra in extras if extra.apart is None], query)
    out = prefix_attention(
        query, key, value, prefix, mask, scale, dropout,
        causal=causal, softcap=softcap, gate_BTP=gate,
    )  # fmt: skip
    for extra in extras:
        if extra.apart is not None:
            nothing = key[:, :, :0], value[:, :, :0]
            own = extra.keys.to(key.dtype), extra.values.to(value.dtype)
            alone = prefix_attention(query, *nothing, own, None, scale, softcap=softcap)
            out = out + extra.apart.to(out.dtype) * alone
    return out.transpose(1, 2).contiguous(), None


def _joined(
    extras: list[Extra], query: Tensor
) -> tuple[tuple[Tensor, Tensor] | None, Tensor | None]:
    """Put one after another what shares the softmax with the sequence, and its gates."""
    if not extras:
        return None, None
    keys = torch.cat([extra.keys for extra in extras])
    values = torch.cat([extra.values for extra in extras])
    if all(extra.gate is None for extra in extras):
        return (keys, values), None
    gates = [
        query.new_ones(len(query), query.shape[2], len(extra.keys))
        if extra.gate is None
        else extra.gate.to(query.dtype)
        for extra in extras
    ]
    return (keys, values), torch.cat(gates, dim=-1)


def _biased(bias: Tensor, mask: Tensor | None, queries: int, *, causal: bool) -> Tensor:
    """Add what a mask hides to a bias on the scores (T5)."""
    if causal:
        bias = with_past_only(bias, queries, bias.shape[-1], bias.device)
    if mask is None:
        return bias
    if mask.dtype == torch.bool:
        return torch.where(mask, bias, torch.finfo(bias.dtype).min)
    return bias + mask


AttentionInterface.register(ATTENTION, attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
