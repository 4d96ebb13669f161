"""Prefix tuning: learned keys and values in front of the sequence (Li and Liang 2021, 2101.00190).

    Attn(Q, [P_K; K], [P_V; V])        P_K, P_V: length x width

Not the identity at initialisation: the softmax always gives the prefix some weight. Count:
length · (key width + value width). Cannot be merged. The vectors are trained directly, without
the reparametrising MLP.

A backbone is loaded with the attention implementation of this file (`ATTENTION`), which
transformers calls in every attention module; a module that holds a prefix attends to it.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from autopeft.kernels.prefix_attention.eager import prefix_attention
from autopeft.methods.places import Attached, Block, Making

ATTENTION = "autopeft"
_CHILD = "autopeft_prefix"
_SPREAD = 0.02


class Prefix(nn.Module):
    """Learned keys and values of one attention module."""

    def __init__(self, length: int, keys: int, values: int, generator: torch.Generator) -> None:
        super().__init__()
        self.keys = nn.Parameter(torch.randn(length, keys, generator=generator) * _SPREAD)
        self.values = nn.Parameter(torch.randn(length, values, generator=generator) * _SPREAD)


def attend(  # noqa: PLR0917  # transformers' attention interface
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend over the module's prefix, if it has one, and the sequence.

    Follows transformers' attention interface: ``(batch, heads, tokens, width)`` in,
    ``(batch, tokens, heads, width)`` out, no weights.
    """
    child = dict(module.named_children()).get(_CHILD)
    prefix = (child.keys, child.values) if isinstance(child, Prefix) else None
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = prefix_attention(query, key, value, prefix, attention_mask, scale, dropout)
    return out.transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put ``size`` learned keys and values in front of an attention module's own."""
    place = block.sites[site]
    attention = block.original(site)
    prefix = Prefix(making.size, place.inputs, place.outputs, making.generator)
    attention.add_module(_CHILD, prefix)
    return Attached(
        parameters=dict(prefix.named_parameters()), undo=lambda: delattr(attention, _CHILD)
    )
