"""The kernels as operators of PyTorch: autograd, autocast and ``torch.compile`` see one node each.

Axes as in ``triton.py``.
"""

from math import prod
from typing import Any

import torch
from torch import Tensor

from autopeft.kernels.scale_shift import triton as kernels


def run(x_O: Tensor, scale_S: Tensor, shift_S: Tensor | None, start: int) -> Tensor:
    """Return what ``naive.scale_shift`` returns, to rounding."""
    x_NO = x_O.reshape(prod(x_O.shape[:-1]), x_O.shape[-1])
    y_NO: Tensor = scale_shift(x_NO, scale_S, shift_S, start)
    return y_NO.view(x_O.shape)


@torch.library.custom_op("autopeft::scale_shift", mutates_args=())
def scale_shift(x_NO: Tensor, scale_S: Tensor, shift_S: Tensor | None, start: int) -> Tensor:
    """Return ``x * scale + shift`` of the features from ``start`` on."""
    return kernels.forward(x_NO, scale_S, shift_S, start)


@scale_shift.register_fake
def _(x_NO: Tensor, _scale_S: Tensor, _shift_S: Tensor | None, _start: int) -> Tensor:
    return x_NO.new_empty(x_NO.shape)


@torch.library.custom_op("autopeft::scale_shift_backward", mutates_args=())
def scale_shift_backward(  # noqa: PLR0917  # operands, then what is wanted
    g_NO: Tensor,
    x_NO: Tensor,
    scale_S: Tensor,
    start: int,
    wants_x: bool,
    wants_scale: bool,
    wants_shift: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients, those of the factors in fp32; empty where they are not wanted."""
    return kernels.backward(g_NO, x_NO, scale_S, start, wants_x, wants_scale, wants_shift)


@scale_shift_backward.register_fake
def _(  # as above
    _g_NO: Tensor,
    x_NO: Tensor,
    scale_S: Tensor,
    _start: int,
    wants_x: bool,
    wants_scale: bool,
    wants_shift: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        x_NO.new_empty(x_NO.shape if wants_x else (0,)),
        scale_S.new_empty(scale_S.shape if wants_scale else (0,), dtype=torch.float32),
        scale_S.new_empty(scale_S.shape if wants_shift else (0,), dtype=torch.float32),
    )


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001  # torch's
    x_NO, scale_S, shift_S, ctx.start = inputs
    ctx.save_for_backward(x_NO, scale_S)
    ctx.shift = None if shift_S is None else shift_S.dtype


def _backward(ctx: Any, g_NO: Tensor) -> tuple[Tensor | None, ...]:
    x_NO, scale_S = ctx.saved_tensors
    wanted = ctx.needs_input_grad[:3]
    d_x, d_scale, d_shift = scale_shift_backward(g_NO, x_NO, scale_S, ctx.start, *wanted)
    return (
        d_x if wanted[0] else None,
        d_scale.to(scale_S.dtype) if wanted[1] else None,
        d_shift.to(ctx.shift) if wanted[2] else None,
        None,
    )


scale_shift.register_autograd(_backward, setup_context=_keep)
