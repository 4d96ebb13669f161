"""Prefix attention in pieces that fit into a processor's cache, whose weights are not kept.

The forward makes the weights of some heads at a time, and forgets them; the backward makes them
again:

    W = softmax(S), S = scale · Q Kᵀ + M      O = W V
    dV = Wᵀ dO      dW = dO Vᵀ      dS = W ∘ (dW - rowsum(W ∘ dW))      dQ = scale · dS K
    dK = scale · dSᵀ Q

K and V begin with the prefix here, which is put in front for one piece at a time; its gradient is
the sum over the batch, in single precision.

Axes as in ``naive.py``, and N the queries of all heads that share a head of keys, head by head.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from autopeft.kernels.prefix_attention import naive

SCORES = 1 << 20
"""So many weights are made at a time: about what the cache of a core holds in half precision."""


def chunked(  # noqa: PLR0917  # operands, in the order of the formula
    query_BHTK: Tensor,
    key_BGSK: Tensor,
    value_BGSK: Tensor,
    prefix: tuple[Tensor, Tensor] | None,
    mask_BHTS: Tensor | None,
    scale: float,
    *,
    causal: bool,
) -> Tensor:
    """Return what ``naive.prefix_attention`` returns, to rounding, and keep no weights for it."""
    mask = naive.wide_mask(query_BHTK, key_BGSK, prefix, mask_BHTS, causal)
    parts = prefix or (key_BGSK.new_empty(0), value_BGSK.new_empty(0))
    learned = (
        part.view(-1, x.shape[1], x.shape[3]).transpose(0, 1)
        for part, x in zip(parts, (key_BGSK, value_BGSK), strict=True)
    )
    out: Tensor = _Chunked.apply(  # type: ignore[no-untyped-call]  # torch does not type it
        query_BHTK, key_BGSK, value_BGSK, *learned, finite(mask, query_BHTK.dtype), scale
    )
    return out


def finite(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Return a mask as numbers to add to scores of a type, none of them infinite.

    A query that sees nothing weighs all keys alike by that. It is faster than to fill in what is
    hidden, and the same but for the gradients of the scores of such a query, which are not zero.
    """
    if mask is None:
        return None
    lowest = torch.finfo(dtype).min
    if mask.dtype == torch.bool:
        return torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, lowest)
    # Converted first: a narrower mask cannot hold the lowest number of a wider type.
    return mask.to(dtype).clamp(min=lowest)


def weights(query_BHTK: Tensor, key_BGSK: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Return the softmax of scores, shape ``(B, H, T, S)``; the mask is of `finite` numbers."""
    scores_BGNS = by_groups(query_BHTK * scale, key_BGSK) @ key_BGSK.transpose(-1, -2)
    scores_BHTS = scores_BGNS.view(*query_BHTK.shape[:3], key_BGSK.shape[2])
    return (scores_BHTS if mask is None else scores_BHTS + mask).softmax(-1)


def by_groups(x_BHTK: Tensor, key_BGSK: Tensor) -> Tensor:
    """Put queries of the heads that share a head of keys one below another: ``(B, G, N, K)``."""
    groups = key_BGSK.shape[1]
    if groups == x_BHTK.shape[1]:
        return x_BHTK
    batch, heads, queries, width = x_BHTK.shape
    return x_BHTK.reshape(batch, groups, heads // groups * queries, width)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """Some examples and some heads of keys, with the heads of queries that share them."""

    examples: slice
    groups: slice
    heads: slice

    def keys(self, learned_GPK: Tensor, x_BGSK: Tensor) -> Tensor:
        """Return its keys or values, those of the prefix first."""
        x = x_BGSK[self.examples, self.groups]
        if not learned_GPK.shape[1]:
            return x
        learned_GPK = learned_GPK[self.groups].to(x.dtype)
        return torch.cat([learned_GPK.expand(len(x), -1, -1, -1), x], dim=2)

    def mask(self, mask: Tensor | None) -> Tensor | None:
        """Return the mask of its examples and heads."""
        if mask is None:
            return None
        everything = slice(None)
        return mask[
            self.examples if len(mask) > 1 else everything,
            self.heads if mask.shape[1] > 1 else everything,
        ]


def _pieces(query_BHTK: Tensor, key_BGSK: Tensor, learned: int) -> Iterator[_Piece]:
    batch, heads, queries, _ = query_BHTK.shape
    groups = key_BGSK.shape[1]
    shared = heads // groups
    many = max(1, SCORES // max(1, shared * queries * (key_BGSK.shape[2] + learned)))
    width, depth = min(groups, many), max(1, many // groups)
    for b in range(0, batch, depth):
        for g in range(0, groups, width):
            yield _Piece(
                examples=slice(b, b + depth),
                groups=slice(g, g + width),
                heads=slice(g * shared, (g + width) * shared),
            )


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917  # what autograd passes on
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        learned_key: Tensor,
        learned_value: Tensor,
        mask: Tensor | None,
        scale: float,
    ) -> Tensor:
        """Return the output, and keep the operands."""
        out = _by_tokens(query, value.shape[3])
        for piece in _pieces(query, key, learned_key.shape[1]):
            at = piece.examples, piece.heads
            seen, taken = piece.keys(learned_key, key), piece.keys(learned_value, value)
            weights_BHTS = weights(query[at], seen, piece.mask(mask), scale)
            out[at] = (by_groups(weights_BHTS, seen) @ taken).view(out[at].shape)
        ctx.save_for_backward(query, key, value, learned_key, learned_value, mask)
        ctx.scale = scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the tensors; the mask has none."""
        query, key, value, learned_key, learned_value, mask = ctx.saved_tensors
        with torch.autocast(query.device.type, enabled=False):
            found = _gradients(
                grad, query, key, value, learned_key, learned_value, mask, ctx.scale,
                sequence=any(ctx.needs_input_grad[1:3]),
            )  # fmt: skip
        asked = zip(found, ctx.needs_input_grad[:5], strict=True)
        return (*(gradient if wanted else None for gradient, wanted in asked), None, None)


def _gradients(  # noqa: PLR0917  # as above
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    learned_key: Tensor,
    learned_value: Tensor,
    mask: Tensor | None,
    scale: float,
    *,
    sequence: bool,
) -> tuple[Tensor, ...]:
    """Return the gradients of the tensors but the mask; without ``sequence`` two are unwritten."""
    dquery = _by_tokens(query, query.shape[3])
    dkey, dvalue = (_by_tokens(x, x.shape[3]) for x in (key, value))
    sums = [x.new_zeros(x.shape, dtype=torch.float32) for x in (learned_key, learned_value)]
    learned = learned_key.shape[1]
    needed = slice(None) if sequence else slice(learned)
    for piece in _pieces(query, key, learned):
        at, keys = (piece.examples, piece.heads), (piece.examples, piece.groups)
        seen, taken = piece.keys(learned_key, key), piece.keys(learned_value, value)
        weights_BHTS = weights(query[at], seen, piece.mask(mask), scale)
        grad_BGNK = by_groups(grad[at], seen)
        dweights = (grad_BGNK @ taken.transpose(-1, -2)).view(weights_BHTS.shape)
        dscores = torch.ops.aten._softmax_backward_data(  # noqa: SLF001  # what autograd calls
            dweights, weights_BHTS, -1, weights_BHTS.dtype
        )
        dscores = by_groups(dscores, seen)
        dquery[at] = (dscores @ seen).mul_(scale).view(dquery[at].shape)
        turned = by_groups(weights_BHTS, seen)[..., needed].transpose(-1, -2)
        dtaken = turned @ grad_BGNK
        dseen = dscores[..., needed].transpose(-1, -2) @ by_groups(query[at] * scale, seen)
        for total, found, whole in zip(sums, (dseen, dtaken), (dkey, dvalue), strict=True):
            total[piece.groups] += found[:, :, :learned].sum(0, dtype=torch.float32)
            if sequence:
                whole[keys] = found[:, :, learned:]
    return dquery, dkey, dvalue, *sums


def _by_tokens(x_BHTK: Tensor, width: int) -> Tensor:
    """Return memory in which the heads of a token lie side by side, as projections read them."""
    batch, heads, tokens, _ = x_BHTK.shape
    return x_BHTK.new_empty(batch, tokens, heads, width).transpose(1, 2)
