"""Products with frozen matrices in bf16 on a CPU, where torch's own ``linear`` is not the fastest.

``linear`` writes the bias into the output before it multiplies; oneDNN adds it while the product is
still in registers, bit for bit the same (benchmarks/engine.py has the times). A frozen matrix needs
no gradient, so that nothing but the matrix is kept for the backward.

Axes: ... any leading axes, I inputs, O outputs.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear


def frozen_linear(x_I: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    """Return ``x Wᵀ + b``, shape ``(..., O)``, in the precision of W; only x gets a gradient."""
    x_I = x_I.to(weight_OI.dtype)
    if x_I.requires_grad and torch.is_grad_enabled():
        y_O: Tensor = _Frozen.apply(x_I, weight_OI, bias_O)  # type: ignore[no-untyped-call]
        return y_O
    return product(x_I, weight_OI, bias_O)


def product(x_I: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    """Return ``x Wᵀ + b`` without any gradient; all in one precision, and of any strides."""
    if bias_O is not None:
        bias_O = bias_O.contiguous()  # oneDNN reads a bias as if it were
    if POINTWISE and x_I.dtype is torch.bfloat16 and x_I.device.type == "cpu":
        y_O: Tensor = POINTWISE(x_I, weight_OI, bias_O, "none", [], "")
        return y_O
    return linear(x_I, weight_OI, bias_O)


class _Frozen(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_I: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight_OI)
        return product(x_I, weight_OI, bias_O)

    @staticmethod
    def backward(ctx: Any, gradient_O: Tensor) -> tuple[Tensor, None, None]:
        (weight_OI,) = ctx.saved_tensors
        return gradient_O @ weight_OI, None, None


def _pointwise() -> Callable[..., Tensor] | None:
    """Find oneDNN's product; some builds of torch, and processors without bf16, have none."""
    try:
        able = torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001  # torch has no other name
        found: Callable[..., Tensor] = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001  # nor here
    except (AttributeError, RuntimeError):
        return None
    return found if able else None


POINTWISE = _pointwise()
"""oneDNN's product with a bias, None where it is not to be had."""
