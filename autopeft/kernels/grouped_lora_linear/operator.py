"""The operator that callers use: it takes the form for the device of its operands.

Axes as in ``naive.py``.
"""

from collections.abc import Sequence

from torch import Tensor

from autopeft.errors import KernelError
from autopeft.kernels.forms import check_operands, form_for, in_autocast
from autopeft.kernels.grouped_lora_linear import eager, naive
from autopeft.kernels.lora_linear.operator import check_fit


def grouped_lora_linear(  # noqa: PLR0917  # operands, in the order of the formula
    x_NI: Tensor,
    weight_OI: Tensor,
    bias_O: Tensor | None,
    down_RI: Tensor,
    up_RO: Tensor,
    scales: Sequence[float],
    ranks: Sequence[int],
    rows: Sequence[int],
) -> Tensor:
    """Return ``x Wᵀ + b + scaleₖ · (x Dₖᵀ) Uₖ`` with the k of each row's segment, shape ``(N, O)``.

    Segment k has the next ``rows[k]`` rows of x, and the next ``ranks[k]`` rows of both factors;
    with rank 0 it has the frozen map alone, and without rows its factors have no gradient but zero.
    Any strides; x, W and b in one precision, the factors in any.

    Raises:
        KernelError: The operands or the segments do not fit together.
    """
    check_operands(
        "grouped_lora_linear", x=x_NI, weight=weight_OI, bias=bias_O, down=down_RI, up=up_RO
    )
    x_NI, weight_OI = in_autocast(x_NI), in_autocast(weight_OI)
    bias_O = None if bias_O is None else in_autocast(bias_O)
    check_fit("grouped_lora_linear", x_NI, weight_OI, bias_O, down_RI, up_RO)
    _check_segments(x_NI, down_RI, scales, ranks, rows)
    match form_for(x_NI):
        case "naive":
            down, up = down_RI.to(x_NI.dtype), up_RO.to(x_NI.dtype)
            return naive.grouped_lora_linear(x_NI, weight_OI, bias_O, down, up, scales, ranks, rows)
        case "eager":
            return eager.grouped_lora_linear(
                x_NI, weight_OI, bias_O, down_RI, up_RO, scales, ranks, rows
            )
        case "triton":
            from autopeft.kernels.grouped_lora_linear.registered import run

            return run(x_NI, weight_OI, bias_O, down_RI, up_RO, scales, ranks, rows)


def _check_segments(
    x_NI: Tensor,
    down_RI: Tensor,
    scales: Sequence[float],
    ranks: Sequence[int],
    rows: Sequence[int],
) -> None:
    if x_NI.dim() != 2:
        raise KernelError(
            f"grouped_lora_linear takes x of two axes, rows and inputs, not of shape "
            f"{tuple(x_NI.shape)}: flatten the others"
        )
    if not len(scales) == len(ranks) == len(rows) > 0:
        raise KernelError(
            "grouped_lora_linear needs a scale, a rank and a number of rows for each segment, of "
            f"which there is at least one: not {len(scales)}, {len(ranks)} and {len(rows)}"
        )
    for name, numbers, whole, what in (
        ("ranks", ranks, len(down_RI), "rows of down"),
        ("rows", rows, len(x_NI), "rows of x"),
    ):
        if min(numbers) < 0 or sum(numbers) != whole:
            raise KernelError(
                f"grouped_lora_linear divides the {whole} {what} among segments: {name} of "
                f"{list(numbers)} do not add up to them"
            )
