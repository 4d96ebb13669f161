"""The operator that callers use: it takes the form for the device of its operands.

Axes as in ``naive.py``.
"""

from torch import Tensor

from autopeft.errors import KernelError
from autopeft.kernels.forms import check_operands, form_for
from autopeft.kernels.scale_shift import naive


def scale_shift(
    x_O: Tensor, scale_S: Tensor, shift_S: Tensor | None = None, *, start: int = 0
) -> Tensor:
    """Return ``x * scale + shift``, in the shape and type of x.

    Of more features than there are factors, those from ``start`` on change and the others stay.
    Any strides and leading axes, and no rows at all, will do. Autocast changes nothing, as with
    any product of numbers one by one.

    Raises:
        KernelError: An operand has another shape than the others ask for, or a type or a device
            that the kernels do not know.
    """
    check_operands("scale_shift", x=x_O, scale=scale_S, shift=shift_S)
    _check_shapes(x_O, scale_S, shift_S, start)
    match form_for(x_O):
        case "naive" | "eager":
            return naive.scale_shift(x_O, scale_S, shift_S, start=start)
        case "triton":
            from autopeft.kernels.scale_shift.registered import run

            return run(x_O, scale_S, shift_S, start)


def _check_shapes(x_O: Tensor, scale_S: Tensor, shift_S: Tensor | None, start: int) -> None:
    factors = tuple(scale_S.shape)
    if len(factors) != 1 or start < 0 or start + factors[0] > x_O.shape[-1]:
        raise KernelError(
            f"scale_shift needs one factor a feature, and no more from {start} on than the "
            f"{x_O.shape[-1]} features of x have room for, not scale of shape {factors}"
        )
    if shift_S is not None and tuple(shift_S.shape) != factors:
        raise KernelError(
            f"scale_shift needs a shift for each factor: of shape {factors} like scale, not "
            f"{tuple(shift_S.shape)}"
        )
