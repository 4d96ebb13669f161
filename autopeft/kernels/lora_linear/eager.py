"""LoRA's linear map on a CPU: torch's products, and no more kept or computed than is needed.

The second product is added to the first in place. For the backward x is kept only where ``down`` or
the weight is trained, or what x is made from again (``kernels/remade.py``), and beside it the
rank-r activation; dropout keeps its seed. No gradient is computed that nobody asked for.

Axes: ... any leading axes, N rows (all leading axes as one), I inputs, O outputs, R rank.
"""

from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from autopeft.kernels.lora_linear.dropout import kept
from autopeft.kernels.product import product
from autopeft.kernels.remade import is_sparing, remade

Gradients = tuple[Tensor | None, ...]


def lora_linear(  # noqa: PLR0917  # operands, in the order of the formula
    x_I: Tensor,
    weight_OI: Tensor | None,
    bias_O: Tensor | None,
    down_RI: Tensor,
    up_RO: Tensor,
    scale: float,
    *,
    dropout: float = 0.0,
    seed: int = 0,
    ratio_O: Tensor | None = None,
    residual_O: Tensor | None = None,
) -> Tensor:
    """Return what ``naive.lora_linear`` returns with ``kept(x_I, dropout, seed)``, to rounding.

    Without a weight it is ``naive.low_rank``, which knows no ratio. Factors and ratio may have
    another precision than x, whose is computed in.
    """
    y: Tensor = _LoraLinear.apply(  # type: ignore[no-untyped-call]  # torch has no types
        x_I, weight_OI, bias_O, down_RI, up_RO, ratio_O, residual_O, scale, dropout, seed
    )
    return y


def row_norms(weight_OI: Tensor, down_RI: Tensor, up_RO: Tensor, scale: float) -> Tensor:
    """Return what ``naive.row_norms`` returns, to rounding; one matrix is made, not three."""
    whole_OI = torch.addmm(weight_OI, up_RO.T, down_RI, alpha=scale)
    norms_O: Tensor = torch.linalg.vector_norm(whole_OI, dim=1)
    return norms_O


def frozen_map(x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    """Return ``x Wᵀ + b`` in the way that is fastest here; oneDNN knows no empty matrices."""
    multiply = product if x_NI.numel() and weight_OI.numel() else linear
    return multiply(x_NI, weight_OI, bias_O)


def rows_of(x: Tensor) -> Tensor:
    """Return a tensor with all its leading axes as one."""
    return x.reshape(prod(x.shape[:-1]), x.shape[-1])


class _LoraLinear(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917  # as autograd calls it
        ctx: Any,
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
        shape = *x_I.shape[:-1], up_RO.shape[1]
        x_NI, plain_NO = rows_of(x_I), None
        hidden_NR = _dropped(x_NI, dropout, seed) @ down_RI.to(x_I.dtype).T
        up = up_RO.to(x_I.dtype)
        if weight_OI is None:
            y_NO = (hidden_NR * scale) @ up
        else:
            y_NO = frozen_map(x_NI, weight_OI, bias_O).addmm_(hidden_NR, up, alpha=scale)
        if ratio_O is not None:
            plain_NO = _scaled_(y_NO, ratio_O, bias_O)
        if residual_O is not None:
            y_NO += residual_O.reshape(y_NO.shape)
        _, of_weight, _, of_down, of_up, of_ratio, *_ = ctx.needs_input_grad
        keeps_x = of_weight or of_down
        made = remade(x_I) if keeps_x and _may_be_noted() else None
        kept_x, ctx.remade = made or (x_NI if keeps_x else None, None)
        ctx.save_for_backward(
            kept_x, weight_OI, down_RI, up_RO, hidden_NR if of_up else None, ratio_O,
            plain_NO if of_ratio else None,
        )  # fmt: skip
        ctx.scale, ctx.dropout, ctx.seed = scale, dropout, seed
        return y_NO.view(shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_O: Tensor) -> Gradients:
        of_x, of_weight, of_bias, of_down, of_up, of_ratio, of_residual, *_ = ctx.needs_input_grad
        kept_x, weight_OI, down_RI, up_RO, hidden_NR, ratio_O, plain_NO = ctx.saved_tensors
        x_NI = rows_of(ctx.remade.again(kept_x)) if ctx.remade else kept_x
        g_NO = rows_of(gradient_O)
        g_x = g_weight = g_down = g_up = g_ratio = None
        g_bias = g_NO.sum(0) if of_bias else None
        if of_ratio:
            g_ratio = (g_NO * plain_NO).sum(0, dtype=ratio_O.dtype)
        if ratio_O is not None:
            g_NO = (g_NO * ratio_O).to(g_NO.dtype)
        if of_up:
            g_up = ((hidden_NR * ctx.scale).T @ g_NO).to(up_RO.dtype)
        if of_x or of_down:
            g_NR = (g_NO @ up_RO.to(g_NO.dtype).T).mul_(ctx.scale)
            if of_down:
                g_down = (g_NR.T @ _dropped(x_NI, ctx.dropout, ctx.seed)).to(down_RI.dtype)
            if of_x:
                g_NI = _of_inputs(g_NO, weight_OI, g_NR, down_RI, ctx.dropout, ctx.seed)
                g_x = g_NI.view(*gradient_O.shape[:-1], down_RI.shape[1])
        if of_weight:
            g_weight = g_NO.T @ x_NI
        g_residual = gradient_O if of_residual else None
        return g_x, g_weight, g_bias, g_down, g_up, g_ratio, g_residual, None, None, None


def _scaled_(y_NO: Tensor, ratio_O: Tensor, bias_O: Tensor | None) -> Tensor:
    """Scale outputs in place, all but the bias in them, and return what was scaled."""
    plain_NO = y_NO.clone() if bias_O is None else y_NO - bias_O
    # a ratio begins at one, which then changes no bit, and half precision has few numbers near it
    y_NO.addcmul_(plain_NO, (ratio_O - 1).to(y_NO.dtype))
    return plain_NO


def _may_be_noted() -> bool:
    """Tell whether an input may have a note; ``torch.compile`` cannot look notes up."""
    return not torch.compiler.is_compiling() and is_sparing()


def _dropped(x_NI: Tensor, dropout: float, seed: int) -> Tensor:
    kept_NI = kept(x_NI, dropout, seed)
    return x_NI if kept_NI is None else kept_NI.mul_(x_NI)


def _of_inputs(  # noqa: PLR0917  # operands, in the order of the formula
    g_NO: Tensor,
    weight_OI: Tensor | None,
    g_NR: Tensor,
    down_RI: Tensor,
    dropout: float,
    seed: int,
) -> Tensor:
    """Return ``g W + kept ∘ (h D)``, with h the gradient of the rank-r activation, scaled."""
    down = down_RI.to(g_NO.dtype)
    if dropout == 0 and weight_OI is not None:
        return (g_NO @ weight_OI).addmm_(g_NR, down)
    g_NI = _dropped(g_NR @ down, dropout, seed)
    return g_NI if weight_OI is None else g_NI.addmm_(g_NO, weight_OI)
