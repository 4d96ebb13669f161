"""The bottleneck on a CPU: no pass for bias, scale or residual, and little kept for the backward.

Axes as in ``naive.py``, with N for the leading axes. Kept are x and what goes into the activation;
normalised inputs and activations are worked out again. The formulas are in ``README.md``.
"""

from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from autopeft.kernels.bottleneck.naive import ACTIVATIONS, Activation, Norm

_aten = torch.ops.aten


def bottleneck(  # noqa: PLR0917  # operands, in the order of the formula
    x_I: Tensor,
    down_HI: Tensor,
    bias_H: Tensor,
    up_HO: Tensor,
    bias_O: Tensor,
    scale: float,
    activation: Activation = "relu",
    *,
    norm: Norm | None = None,
    residual_O: Tensor | None = None,
) -> Tensor:
    """Return what ``naive.bottleneck`` returns, to rounding."""
    x_NI = x_I.reshape(prod(x_I.shape[:-1]), x_I.shape[-1])
    weight_I, bias_I, epsilon = norm or (None, None, 0.0)
    if weight_I is not None and bias_I is not None:
        kind = _norm_type(x_I, weight_I, bias_I)
        weight_I, bias_I = weight_I.to(kind), bias_I.to(kind)
    added_NO: Tensor = _Bottleneck.apply(  # type: ignore[no-untyped-call]  # torch has no types
        x_NI, down_HI, bias_H, up_HO, bias_O, weight_I, bias_I, scale, epsilon, activation
    )
    added_O = added_NO.view(*x_I.shape[:-1], up_HO.shape[-1])
    return added_O if residual_O is None else residual_O + added_O.to(residual_O.dtype)


def _norm_type(x_I: Tensor, weight_I: Tensor, bias_I: Tensor) -> torch.dtype:
    """Return the type of factors that PyTorch's norm takes: that of x, or single beside halves."""
    if weight_I.dtype == bias_I.dtype == x_I.dtype:
        return x_I.dtype
    return torch.promote_types(x_I.dtype, torch.float32)


class _Bottleneck(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917  # autograd takes no keywords
        ctx: Any,
        x_NI: Tensor,
        down_HI: Tensor,
        bias_H: Tensor,
        up_HO: Tensor,
        bias_O: Tensor,
        weight_I: Tensor | None,
        bias_I: Tensor | None,
        scale: float,
        epsilon: float,
        activation: Activation,
    ) -> Tensor:
        kind = x_NI.dtype
        read_NI, mean_N1, rstd_N1 = x_NI, None, None
        if weight_I is not None:
            read_NI, mean_N1, rstd_N1 = torch.native_layer_norm(
                x_NI, x_NI.shape[-1:], weight_I, bias_I, epsilon
            )
        inner_NH = torch.addmm(bias_H.to(kind), read_NI, down_HI.to(kind).T)
        ctx.save_for_backward(x_NI, down_HI, up_HO, weight_I, bias_I, mean_N1, rstd_N1, inner_NH)
        ctx.scale, ctx.epsilon, ctx.activation = scale, epsilon, activation
        ctx.kinds = bias_H.dtype, bias_O.dtype
        hidden_NH = ACTIVATIONS[activation](inner_NH)
        return torch.addmm((scale * bias_O).to(kind), hidden_NH, (scale * up_HO).to(kind))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x_NI, down_HI, up_HO, weight_I, bias_I, mean_N1, rstd_N1, inner_NH = ctx.saved_tensors
        kind, (g_NO,) = x_NI.dtype, grads
        wants_x, wants_down, wants_bias, wants_up, wants_last, wants_weight, wants_shift = (
            ctx.needs_input_grad[:7]
        )
        d_up = d_last = d_down = d_bias = d_x = d_weight = d_shift = None
        if wants_up:
            hidden_NH = ACTIVATIONS[ctx.activation](inner_NH)
            d_up = (hidden_NH.T @ g_NO).to(up_HO.dtype).mul_(ctx.scale)
        if wants_last:
            d_last = g_NO.sum(0).to(ctx.kinds[1]).mul_(ctx.scale)
        d_hidden_NH = g_NO @ (ctx.scale * up_HO).to(kind).T
        d_inner_NH = _through(ctx.activation, d_hidden_NH, inner_NH)
        if wants_bias:
            d_bias = d_inner_NH.sum(0).to(ctx.kinds[0])
        if wants_down:
            read_NI = x_NI
            if weight_I is not None:
                read_NI, _, _ = torch.native_layer_norm(
                    x_NI, x_NI.shape[-1:], weight_I, bias_I, ctx.epsilon
                )
            d_down = (d_inner_NH.T @ read_NI).to(down_HI.dtype)
        if wants_x or wants_weight or wants_shift:
            d_x = d_inner_NH @ down_HI.to(kind)
            if weight_I is not None:
                d_x, d_weight, d_shift = _aten.native_layer_norm_backward(
                    d_x, x_NI, x_NI.shape[-1:], mean_N1, rstd_N1, weight_I, bias_I,
                    [wants_x, wants_weight, wants_shift],
                )  # fmt: skip
        return d_x, d_down, d_bias, d_up, d_last, d_weight, d_shift, None, None, None


def _through(activation: Activation, d_hidden: Tensor, inner: Tensor) -> Tensor:
    """Return the gradient of what goes into the activation."""
    if activation == "relu":
        return _aten.threshold_backward(d_hidden, inner, 0)  # type: ignore[no-any-return]
    if activation == "silu":
        return _aten.silu_backward(d_hidden, inner)  # type: ignore[no-any-return]
    approximate = "tanh" if activation == "gelu_tanh" else "none"
    return _aten.gelu_backward(d_hidden, inner, approximate=approximate)  # type: ignore[no-any-return]
