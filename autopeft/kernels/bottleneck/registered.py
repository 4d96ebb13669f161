"""The kernels as operators of PyTorch: autograd, autocast and ``torch.compile`` see one node each.

Axes as in ``triton.py``.
"""

from math import prod
from typing import Any

import torch
from torch import Tensor

from autopeft.kernels.bottleneck import triton as kernels
from autopeft.kernels.bottleneck.cuts import WIDEST
from autopeft.kernels.bottleneck.naive import Activation, Norm


def run(  # noqa: PLR0917  # operands, in the order of the formula
    x_I: Tensor,
    down_HI: Tensor,
    bias_H: Tensor,
    up_HO: Tensor,
    bias_O: Tensor,
    scale: float,
    activation: Activation,
    norm: Norm | None,
    residual_O: Tensor | None,
    onto_input: bool,
) -> Tensor:
    """Return what ``naive.bottleneck`` returns, to rounding; ``onto_input`` makes x the residual.

    The sum over H goes in parts where one program cannot hold them all.
    """
    weight_I, bias_I, epsilon = norm or (None, None, 0.0)
    x_NI = x_I.reshape(prod(x_I.shape[:-1]), x_I.shape[-1])
    sum_NO = None if residual_O is None else residual_O.reshape(len(x_NI), up_HO.shape[-1])
    operands = x_NI, down_HI, bias_H, up_HO, bias_O, weight_I, bias_I, sum_NO
    learns = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in operands)
    for start in range(0, max(1, len(down_HI)), WIDEST):
        part = slice(start, start + WIDEST)
        last_O = torch.zeros_like(bias_O) if start else bias_O
        sum_NO = bottleneck(
            x_NI, down_HI[part], bias_H[part], up_HO[part], last_O, weight_I, bias_I, sum_NO,
            scale, epsilon, activation, onto_input and not start, learns,
        )[0]  # fmt: skip
    assert sum_NO is not None
    return sum_NO.view(*x_I.shape[:-1], up_HO.shape[-1])


@torch.library.custom_op("autopeft::bottleneck", mutates_args=())
def bottleneck(  # noqa: PLR0917  # operands, in the order of the formula
    x_NI: Tensor,
    down_HI: Tensor,
    bias_H: Tensor,
    up_HO: Tensor,
    bias_O: Tensor,
    weight_I: Tensor | None,
    bias_I: Tensor | None,
    residual_NO: Tensor | None,
    scale: float,
    epsilon: float,
    activation: str,
    onto_input: bool,
    learns: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the sum, what goes into the activation, and mean and 1 / deviation of each row.

    The last three are empty unless it ``learns``. ``onto_input`` makes x the residual.
    """
    return kernels.forward(
        x_NI, down_HI, bias_H, up_HO, bias_O, weight_I, bias_I,
        x_NI if onto_input else residual_NO, scale, epsilon, activation, learns,
    )  # fmt: skip


@bottleneck.register_fake
def _(  # noqa: PLR0917  # as above
    x_NI: Tensor,
    down_HI: Tensor,
    _bias_H: Tensor,
    up_HO: Tensor,
    _bias_O: Tensor,
    weight_I: Tensor | None,
    _bias_I: Tensor | None,
    residual_NO: Tensor | None,
    _scale: float,
    _epsilon: float,
    _activation: str,
    _onto_input: bool,
    learns: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rows = len(x_NI)
    kept = rows if learns and weight_I is not None else 0
    return (
        x_NI.new_empty(
            rows, up_HO.shape[1], dtype=x_NI.dtype if residual_NO is None else residual_NO.dtype
        ),
        x_NI.new_empty((rows, len(down_HI)) if learns else (0,)),
        x_NI.new_empty(kept, dtype=torch.float32),
        x_NI.new_empty(kept, dtype=torch.float32),
    )


@torch.library.custom_op("autopeft::bottleneck_backward", mutates_args=())
def bottleneck_backward(  # noqa: PLR0917  # as above
    g_NO: Tensor,
    x_NI: Tensor,
    inner_NH: Tensor,
    mean_N: Tensor,
    rstd_N: Tensor,
    down_HI: Tensor,
    bias_H: Tensor,
    up_HO: Tensor,
    bias_O: Tensor,
    weight_I: Tensor | None,
    bias_I: Tensor | None,
    scale: float,
    activation: str,
    onto_input: bool,
    wants_x: bool,
    wants_factors: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of x, both factors and biases and the norm's; empty if not wanted."""
    found = kernels.backward(
        g_NO, x_NI, inner_NH, mean_N, rstd_N, down_HI, bias_H, up_HO, bias_O, weight_I, bias_I,
        scale, activation, onto_input, wants_x, wants_factors,
    )  # fmt: skip
    return (*found,)


@bottleneck_backward.register_fake
def _(  # noqa: PLR0917  # as above
    _g_NO: Tensor,
    x_NI: Tensor,
    _inner_NH: Tensor,
    _mean_N: Tensor,
    _rstd_N: Tensor,
    down_HI: Tensor,
    bias_H: Tensor,
    up_HO: Tensor,
    bias_O: Tensor,
    weight_I: Tensor | None,
    bias_I: Tensor | None,
    _scale: float,
    _activation: str,
    _onto_input: bool,
    wants_x: bool,
    wants_factors: bool,
) -> tuple[Tensor, ...]:
    factors = [down_HI, bias_H, up_HO, bias_O, weight_I, bias_I]
    return tuple(
        x_NI.new_empty(0) if tensor is None or not wanted else tensor.new_empty(tensor.shape)
        for tensor, wanted in [(x_NI, wants_x), *((tensor, wants_factors) for tensor in factors)]
    )


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x_NI, down_HI, bias_H, up_HO, bias_O, weight_I, bias_I, _, *constants = inputs
    ctx.scale, _, ctx.activation, ctx.onto_input, _ = constants
    ctx.save_for_backward(
        x_NI, *output[1:], down_HI, bias_H, up_HO, bias_O, weight_I, bias_I
    )  # fmt: skip


def _backward(ctx: Any, g_NO: Tensor, *_: Tensor) -> tuple[Any, ...]:
    wanted = ctx.needs_input_grad[:7]
    found = bottleneck_backward(
        g_NO, *ctx.saved_tensors, ctx.scale, ctx.activation, ctx.onto_input,
        wanted[0], any(wanted[1:]),
    )  # fmt: skip
    grads = (grad if wants else None for grad, wants in zip(found, wanted, strict=True))
    return *grads, g_NO if ctx.needs_input_grad[7] else None, *(None,) * 5


bottleneck.register_autograd(_backward, setup_context=_keep)
