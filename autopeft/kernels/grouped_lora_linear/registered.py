"""The grouped linear map as an operator of torch: for autograd, ``torch.compile`` and FSDP.

The factors' gradients are summed in fp32. Axes as in ``naive.py``; P is the largest rank.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from autopeft.kernels.grouped_lora_linear import triton
from autopeft.kernels.grouped_lora_linear.triton import Segments
from autopeft.kernels.lora_linear.registered import gradients, keep, shaped, there
from autopeft.kernels.lora_linear.triton import Wanted


def run(  # noqa: PLR0917  # operands, in the order of the formula
    x_NI: Tensor,
    weight_OI: Tensor,
    bias_O: Tensor | None,
    down_RI: Tensor,
    up_RO: Tensor,
    scales: Sequence[float],
    ranks: Sequence[int],
    rows: Sequence[int],
) -> Tensor:
    """Return ``x Wᵀ + b + scaleₖ · (x Dₖᵀ) Uₖ`` with the k of each row's segment."""
    y_NO: Tensor
    y_NO, _ = grouped_lora_linear(x_NI, weight_OI, bias_O, down_RI, up_RO, scales, ranks, rows)
    return y_NO


@torch.library.custom_op("autopeft::grouped_lora_linear", mutates_args=())
def grouped_lora_linear(  # noqa: PLR0917  # the operator's schema
    x_NI: Tensor,
    weight_OI: Tensor,
    bias_O: Tensor | None,
    down_RI: Tensor,
    up_RO: Tensor,
    scales: Sequence[float],
    ranks: Sequence[int],
    rows: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """Return the output, and the rank-r activations, which have no gradient of their own."""
    segments = Segments(scales=tuple(scales), ranks=tuple(ranks), rows=tuple(rows))
    return triton.forward(x_NI, weight_OI, bias_O, down_RI, up_RO, segments)


@grouped_lora_linear.register_fake
def _(  # as above
    x_NI: Tensor,
    _weight_OI: Tensor,
    _bias_O: Tensor | None,
    _down_RI: Tensor,
    up_RO: Tensor,
    _scales: Sequence[float],
    ranks: Sequence[int],
    _rows: Sequence[int],
) -> tuple[Tensor, Tensor]:
    count = x_NI.shape[0]
    return x_NI.new_empty(count, up_RO.shape[1]), x_NI.new_empty(count, max(1, *ranks))


@torch.library.custom_op("autopeft::grouped_lora_linear_backward", mutates_args=())
def grouped_lora_linear_backward(  # noqa: PLR0917  # the operator's schema
    g_NO: Tensor,
    x_NI: Tensor | None,
    hidden_NP: Tensor | None,
    weight_OI: Tensor,
    down_RI: Tensor,
    up_RO: Tensor,
    scales: Sequence[float],
    ranks: Sequence[int],
    rows: Sequence[int],
    of_x: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, ``down`` and ``up``; empty where it is not asked for.

    That of ``down`` is asked for by giving x, and that of ``up`` by giving the activations.
    """
    wanted = Wanted(x=of_x, down=x_NI is not None, up=hidden_NP is not None)
    segments = Segments(scales=tuple(scales), ranks=tuple(ranks), rows=tuple(rows))
    found = triton.backward(g_NO, x_NI, hidden_NP, weight_OI, down_RI, up_RO, segments, wanted)
    return there(found, g_NO, down_RI, up_RO)


@grouped_lora_linear_backward.register_fake
def _(  # noqa: PLR0917  # as above
    g_NO: Tensor,
    x_NI: Tensor | None,
    hidden_NP: Tensor | None,
    _weight_OI: Tensor,
    down_RI: Tensor,
    up_RO: Tensor,
    _scales: Sequence[float],
    _ranks: Sequence[int],
    _rows: Sequence[int],
    of_x: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    wanted = Wanted(x=of_x, down=x_NI is not None, up=hidden_NP is not None)
    return shaped(wanted, g_NO, down_RI, up_RO)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *operands, scales, ranks, rows = inputs
    ctx.numbers = (scales, ranks, rows)
    keep(ctx, operands, output)


def _gradients(ctx: Any, g_NO: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    return (*gradients(ctx, g_NO, grouped_lora_linear_backward), None, None, None)


grouped_lora_linear.register_autograd(_gradients, setup_context=_keep)
