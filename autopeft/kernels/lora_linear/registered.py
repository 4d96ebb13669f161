"""LoRA's linear map as an operator of torch: for autograd, ``torch.compile`` and FSDP as any other.

Its kernels see two axes; the factors' gradients are summed in fp32. Axes as in ``naive.py``, and N
rows: all leading axes as one.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from autopeft.kernels.lora_linear import triton
from autopeft.kernels.lora_linear.eager import rows_of
from autopeft.kernels.lora_linear.triton import Dropping, Scaling, Wanted
from autopeft.kernels.scale_shift.registered import scale_shift_backward


def run(  # noqa: PLR0917  # operands, in the order of the formula
    x_I: Tensor,
    weight_OI: Tensor | None,
    bias_O: Tensor | None,
    down_RI: Tensor,
    up_RO: Tensor,
    ratio_O: Tensor | None,
    residual_O: Tensor | None,
    scale: float,
    dropout: float,
    seed: int,
) -> Tensor:
    """Return ``ratio ∘ (x Wᵀ + scale · (drop(x) Dᵀ) U) + b + residual`` for any leading axes."""
    residual_NO = None if residual_O is None else rows_of(residual_O)
    learns_ratio = ratio_O is not None and ratio_O.requires_grad and torch.is_grad_enabled()
    y_NO: Tensor
    y_NO, *_ = lora_linear(
        rows_of(x_I), weight_OI, bias_O, down_RI, up_RO, ratio_O, residual_NO, scale, dropout,
        seed, learns_ratio,
    )  # fmt: skip
    return y_NO.view(*x_I.shape[:-1], up_RO.shape[1])


@torch.library.custom_op("autopeft::lora_linear", mutates_args=())
def lora_linear(  # noqa: PLR0917  # the operator's schema
    x_NI: Tensor,
    weight_OI: Tensor | None,
    bias_O: Tensor | None,
    down_RI: Tensor,
    up_RO: Tensor,
    ratio_O: Tensor | None,
    residual_NO: Tensor | None,
    scale: float,
    dropout: float,
    seed: int,
    gives_plain: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output, the rank-r activation, and the output before ratio, bias and residual.

    The latter two have no gradients of their own; the last is empty where it is not asked for.
    """
    dropping = Dropping(share=dropout, seed=seed)
    plain_NO = x_NI.new_empty((len(x_NI), up_RO.shape[1]) if gives_plain else 0)
    scaling = None
    if ratio_O is not None:
        scaling = Scaling(ratio_O=ratio_O, plain_NO=plain_NO if gives_plain else None)
    found = triton.forward(
        x_NI, weight_OI, bias_O, down_RI, up_RO, residual_NO, scale, dropping, scaling
    )
    return *found, plain_NO


@lora_linear.register_fake
def _(  # as above
    x_NI: Tensor,
    _weight_OI: Tensor | None,
    _bias_O: Tensor | None,
    down_RI: Tensor,
    up_RO: Tensor,
    _ratio_O: Tensor | None,
    _residual_NO: Tensor | None,
    _scale: float,
    _dropout: float,
    _seed: int,
    gives_plain: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    rows, outputs = x_NI.shape[0], up_RO.shape[1]
    return (
        x_NI.new_empty(rows, outputs),
        x_NI.new_empty(rows, down_RI.shape[0]),
        x_NI.new_empty((rows, outputs) if gives_plain else 0),
    )


@torch.library.custom_op("autopeft::lora_linear_backward", mutates_args=())
def lora_linear_backward(  # noqa: PLR0917  # the operator's schema
    g_NO: Tensor,
    x_NI: Tensor | None,
    hidden_NR: Tensor | None,
    weight_OI: Tensor | None,
    down_RI: Tensor,
    up_RO: Tensor,
    scale: float,
    dropout: float,
    seed: int,
    of_x: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, ``down`` and ``up``; empty where it is not asked for.

    That of ``down`` is asked for by giving x, and that of ``up`` by giving the activation.
    """
    wanted = Wanted(x=of_x, down=x_NI is not None, up=hidden_NR is not None)
    dropping = Dropping(share=dropout, seed=seed)
    found = triton.backward(
        g_NO, x_NI, hidden_NR, weight_OI, down_RI, up_RO, scale, wanted, dropping
    )
    return there(found, g_NO, down_RI, up_RO)


@lora_linear_backward.register_fake
def _(  # noqa: PLR0917  # as above
    g_NO: Tensor,
    x_NI: Tensor | None,
    hidden_NR: Tensor | None,
    _weight_OI: Tensor | None,
    down_RI: Tensor,
    up_RO: Tensor,
    _scale: float,
    _dropout: float,
    _seed: int,
    of_x: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    wanted = Wanted(x=of_x, down=x_NI is not None, up=hidden_NR is not None)
    return shaped(wanted, g_NO, down_RI, up_RO)


def there(
    found: Sequence[Tensor | None], g_NO: Tensor, down_RI: Tensor, up_RO: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return gradients as an operator must: an empty tensor where there is none."""
    g_x, g_down, g_up = found
    return (
        g_NO.new_empty(0) if g_x is None else g_x,
        down_RI.new_empty(0) if g_down is None else g_down,
        up_RO.new_empty(0) if g_up is None else g_up,
    )


def shaped(
    wanted: Wanted, g_NO: Tensor, down_RI: Tensor, up_RO: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what ``there`` gives, without its values."""
    return (
        g_NO.new_empty((g_NO.shape[0], down_RI.shape[1]) if wanted.x else 0),
        down_RI.new_empty(down_RI.shape if wanted.down else 0),
        up_RO.new_empty(up_RO.shape if wanted.up else 0),
    )


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *operands, ratio_O, _residual, scale, dropout, seed, gives_plain = inputs
    ctx.numbers = (scale, dropout, seed)
    keep(ctx, operands, output, ratio_O, output[2] if gives_plain else None)


def keep(
    ctx: Any, operands: Sequence[Any], output: tuple[Tensor, ...], *more: Tensor | None
) -> None:
    """Save of x, weight, bias, ``down`` and ``up`` what the gradients that are wanted need.

    Only the first of the outputs has a gradient. ``more`` is saved behind the rest.
    """
    x_NI, weight_OI, _, down_RI, up_RO = operands
    _, of_weight, _, of_down, of_up, *_ = ctx.needs_input_grad
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(
        x_NI if of_down or of_weight else None, output[1] if of_up else None, weight_OI, down_RI,
        up_RO, *more,
    )  # fmt: skip


def _gradients(ctx: Any, g_NO: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    *_, ratio_O, plain_NO = ctx.saved_tensors
    of_ratio, of_residual = ctx.needs_input_grad[5:7]
    g_plain, g_ratio = g_NO, None
    if g_NO is not None and ratio_O is not None:
        read_NO = plain_NO if of_ratio else g_NO
        g_plain, sums_O, _ = scale_shift_backward(g_NO, read_NO, ratio_O, 0, True, of_ratio, False)
        g_ratio = sums_O.to(ratio_O.dtype) if of_ratio else None
    found = gradients(ctx, g_plain, lora_linear_backward, of_bias_NO=g_NO)
    return *found, g_ratio, g_NO if of_residual else None, None, None, None, None


def gradients(
    ctx: Any,
    g_NO: Tensor | None,
    backward: Callable[..., tuple[Tensor, Tensor, Tensor]],
    *,
    of_bias_NO: Tensor | None = None,
) -> tuple[Tensor | None, ...]:
    """Return those of x, weight, bias, ``down`` and ``up``, by the operator of the backward.

    The bias may have another gradient to sum up, being added behind a ratio.
    """
    if g_NO is None:
        return (None,) * 5
    of_x, of_weight, of_bias, of_down, of_up, *_ = ctx.needs_input_grad
    x_NI, hidden_NR, weight_OI, down_RI, up_RO, *_ = ctx.saved_tensors
    g_x, g_down, g_up = backward(
        g_NO, x_NI if of_down else None, hidden_NR, weight_OI, down_RI, up_RO, *ctx.numbers, of_x
    )
    return (
        g_x if of_x else None,
        g_NO.T @ x_NI if of_weight else None,
        (g_NO if of_bias_NO is None else of_bias_NO).sum(0) if of_bias else None,
        g_down if of_down else None,
        g_up if of_up else None,
    )


lora_linear.register_autograd(_gradients, setup_context=_keep)


@torch.library.custom_op("autopeft::row_norms", mutates_args=())
def row_norms(weight_OI: Tensor, down_RI: Tensor, up_RO: Tensor, scale: float) -> Tensor:
    """Return the norms of the rows of ``W + scale · Uᵀ D``; no operand has a gradient."""
    return triton.row_norms(weight_OI, down_RI, up_RO, scale)


@row_norms.register_fake
def _(weight_OI: Tensor, _down_RI: Tensor, _up_RO: Tensor, _scale: float) -> Tensor:
    return weight_OI.new_empty(weight_OI.shape[0], dtype=torch.float32)
