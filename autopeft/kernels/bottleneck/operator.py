"""The bottleneck that callers use: it takes the form for the device of its operands.

Axes as in ``naive.py``.
"""

from torch import Tensor

from autopeft.errors import KernelError
from autopeft.kernels.bottleneck import eager, naive
from autopeft.kernels.bottleneck.naive import ACTIVATIONS, Activation, Norm
from autopeft.kernels.forms import check_operands, form_for, in_autocast


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
    """Return ``r + scale · (f(LN(x) Dᵀ + b) U + c)``, shape ``(..., O)``.

    In the type of the residual, or without one in that of x, which is autocast's where that is on;
    the factors may be of another type. Any strides and leading axes, and no rows at all, will do.

    Raises:
        KernelError: An operand has another shape than the others ask for, a type or a device that
            the kernels do not know, or there is no such activation.
    """
    _check(x_I, down_HI, bias_H, up_HO, bias_O, activation, norm, residual_O)
    read_I = in_autocast(x_I)
    factors = down_HI, bias_H, up_HO, bias_O
    match form_for(x_I):
        case "naive":
            return naive.bottleneck(
                read_I, *factors, scale, activation, norm=norm, residual_O=residual_O
            )
        case "eager":
            return eager.bottleneck(
                read_I, *factors, scale, activation, norm=norm, residual_O=residual_O
            )
        case "triton":
            from autopeft.kernels.bottleneck.registered import run

            onto_input = residual_O is x_I and read_I is x_I
            residual_O = None if onto_input else residual_O
            return run(read_I, *factors, scale, activation, norm, residual_O, onto_input)


def _check(  # noqa: PLR0917  # as above
    x_I: Tensor,
    down_HI: Tensor,
    bias_H: Tensor,
    up_HO: Tensor,
    bias_O: Tensor,
    activation: Activation,
    norm: Norm | None,
    residual_O: Tensor | None,
) -> None:
    weight_I, bias_I, _ = norm or (None, None, 0.0)
    operands = {
        "x": x_I, "down": down_HI, "bias": bias_H, "up": up_HO, "last bias": bias_O,
        "norm weight": weight_I, "norm bias": bias_I, "residual": residual_O,
    }  # fmt: skip
    check_operands("bottleneck", **operands)
    if activation not in ACTIVATIONS:
        raise KernelError(
            f"bottleneck knows no activation {activation!r}: take one of {', '.join(ACTIVATIONS)}"
        )
    width, hidden, out = x_I.shape[-1], down_HI.shape[0], up_HO.shape[-1]
    needed = {
        "down": (hidden, width), "bias": (hidden,), "up": (hidden, out), "last bias": (out,),
        "norm weight": (width,), "norm bias": (width,), "residual": (*x_I.shape[:-1], out),
    }  # fmt: skip
    for name, shape in needed.items():
        found = operands[name]
        if found is not None and tuple(found.shape) != shape:
            raise KernelError(
                f"bottleneck needs {name} of shape {shape} beside x of {tuple(x_I.shape)}, not "
                f"{tuple(found.shape)}"
            )
