"""Prefix attention as operators that autograd and ``torch.compile`` know.

Axes as in ``kernels.py``.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from autopeft.kernels.prefix_attention import triton as launching
from autopeft.kernels.prefix_attention.triton import Operands, Wanted

_TENSORS = 8
"""So many of the operands are tensors or None; the rest are numbers."""
_GRADIENTS = 7
"""So many of them can have a gradient: all but the seed."""


@torch.library.custom_op("autopeft::prefix_attention", mutates_args=())
def prefix_attention(  # noqa: PLR0917  # operands, in the order of the formula
    query_BHTK: Tensor,
    key_BGSK: Tensor,
    value_BGSV: Tensor,
    prefix_key: Tensor | None,
    prefix_value: Tensor | None,
    mask_BHTS: Tensor | None,
    gate_BTP: Tensor | None,
    seed: Tensor | None,
    scale: float,
    dropout: float,
    causal: bool,
    softcap: float | None,
) -> tuple[Tensor, Tensor]:
    """Return the output, and the peak and the sum of each query's softmax."""
    return launching.forward(
        Operands(
            query_BHTK=query_BHTK, key_BGSK=key_BGSK, value_BGSV=value_BGSV, prefix_key=prefix_key,
            prefix_value=prefix_value, mask_BHTS=mask_BHTS, gate_BTP=gate_BTP, seed=seed,
            scale=scale, dropout=dropout, causal=causal, softcap=softcap,
        )
    )  # fmt: skip


@prefix_attention.register_fake
def _(query_BHTK: Tensor, _key: Tensor, value_BGSV: Tensor, *_rest: Any) -> tuple[Tensor, Tensor]:
    return launching.outputs_like(query_BHTK, value_BGSV)


@torch.library.custom_op("autopeft::prefix_attention_backward", mutates_args=())
def prefix_attention_backward(  # noqa: PLR0917  # as above
    grad_BHTV: Tensor,
    out_BHTV: Tensor,
    stats: Tensor,
    query_BHTK: Tensor,
    key_BGSK: Tensor,
    value_BGSV: Tensor,
    prefix_key: Tensor | None,
    prefix_value: Tensor | None,
    mask_BHTS: Tensor | None,
    gate_BTP: Tensor | None,
    seed: Tensor | None,
    scale: float,
    dropout: float,
    causal: bool,
    softcap: float | None,
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of the first seven operands, without elements where not wanted."""
    given = Operands(
        query_BHTK=query_BHTK, key_BGSK=key_BGSK, value_BGSV=value_BGSV, prefix_key=prefix_key,
        prefix_value=prefix_value, mask_BHTS=mask_BHTS, gate_BTP=gate_BTP, seed=seed,
        scale=scale, dropout=dropout, causal=causal, softcap=softcap,
    )  # fmt: skip
    return launching.backward(grad_BHTV, out_BHTV, stats, given, Wanted.of(wanted))


@prefix_attention_backward.register_fake
def _(
    _grad: Tensor, _out: Tensor, _stats: Tensor, *operands: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    *tensors, _scale, _dropout, _causal, _softcap, wanted = operands
    return launching.gradients_like(tensors[:_GRADIENTS], Wanted.of(wanted))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*output, *inputs[:_TENSORS])
    ctx.numbers = inputs[_TENSORS:]
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, grad_BHTV: Tensor | None, _stats: None) -> tuple[Tensor | None, ...]:
    numbers = (None,) * len(ctx.numbers)
    if grad_BHTV is None:
        return (*(None,) * _TENSORS, *numbers)
    wanted = list(ctx.needs_input_grad[:_GRADIENTS])
    out_BHTV, stats, *tensors = ctx.saved_tensors
    found = prefix_attention_backward(grad_BHTV, out_BHTV, stats, *tensors, *ctx.numbers, wanted)
    asked = zip(found, wanted, strict=True)
    return (*(gradient if wants else None for gradient, wants in asked), None, *numbers)


prefix_attention.register_autograd(_differentiate, setup_context=_keep)
