"""LoRA's linear map that callers use: it takes the form for the device of its operands.

Axes as in ``naive.py``.
"""

import torch
from torch import Tensor

from autopeft.errors import KernelError
from autopeft.kernels.forms import check_operands, form_for, in_autocast
from autopeft.kernels.lora_linear import eager, naive
from autopeft.kernels.lora_linear.dropout import kept


def lora_linear(  # noqa: PLR0917  # operands, in the order of the formula
    x_I: Tensor,
    weight_OI: Tensor,
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
    """Return ``ratio ∘ (x Wᵀ + scale · (drop(x) Dᵀ) U) + b + residual``, shape ``(..., O)``.

    Any leading axes and strides; x, W, b and residual in one precision, factors and ratio in any.
    What is dropped follows from the seed, differently in each form. Where ``down`` is frozen, x is
    not kept for the backward (LoRA-FA). DoRA's ratio is a magnitude by ``row_norms``.

    Raises:
        KernelError: The operands do not fit together, in shape, precision or device.
    """
    check_operands(
        "lora_linear", x=x_I, weight=weight_OI, bias=bias_O, down=down_RI, up=up_RO,
        ratio=ratio_O, residual=residual_O,
    )  # fmt: skip
    x_I, weight_OI = in_autocast(x_I), in_autocast(weight_OI)
    bias_O = None if bias_O is None else in_autocast(bias_O)
    residual_O = None if residual_O is None else in_autocast(residual_O)
    check_fit("lora_linear", x_I, weight_OI, bias_O, down_RI, up_RO, ratio_O, residual_O)
    _check_dropout(dropout, seed)
    match form_for(x_I):
        case "naive":
            kept_I = kept(x_I, dropout, seed)
            down, up = down_RI.to(x_I.dtype), up_RO.to(x_I.dtype)
            return naive.lora_linear(
                x_I, weight_OI, bias_O, down, up, scale, kept_I=kept_I, ratio_O=ratio_O,
                residual_O=residual_O,
            )  # fmt: skip
        case "eager":
            return eager.lora_linear(
                x_I, weight_OI, bias_O, down_RI, up_RO, scale, dropout=dropout, seed=seed,
                ratio_O=ratio_O, residual_O=residual_O,
            )  # fmt: skip
        case "triton":
            from autopeft.kernels.lora_linear.registered import run

            return run(
                x_I, weight_OI, bias_O, down_RI, up_RO, ratio_O, residual_O, scale, dropout, seed
            )


def low_rank(
    x_I: Tensor,
    down_RI: Tensor,
    up_RO: Tensor,
    scale: float,
    *,
    dropout: float = 0.0,
    seed: int = 0,
) -> Tensor:
    """Return ``scale · (drop(x) Dᵀ) U``, shape ``(..., O)``: the product without the frozen map.

    Raises:
        KernelError: The operands do not fit together, in shape or device.
    """
    check_operands("low_rank", x=x_I, down=down_RI, up=up_RO)
    x_I = in_autocast(x_I)
    check_fit("low_rank", x_I, None, None, down_RI, up_RO)
    _check_dropout(dropout, seed)
    match form_for(x_I):
        case "naive":
            kept_I = kept(x_I, dropout, seed)
            down, up = down_RI.to(x_I.dtype), up_RO.to(x_I.dtype)
            return naive.low_rank(x_I, down, up, scale, kept_I=kept_I)
        case "eager":
            return eager.lora_linear(
                x_I, None, None, down_RI, up_RO, scale, dropout=dropout, seed=seed
            )
        case "triton":
            from autopeft.kernels.lora_linear.registered import run

            return run(x_I, None, None, down_RI, up_RO, None, None, scale, dropout, seed)


@torch.no_grad()
def row_norms(weight_OI: Tensor, down_RI: Tensor, up_RO: Tensor, scale: float) -> Tensor:
    """Return the norms of the rows of ``W + scale · Uᵀ D``, in fp32 and without a gradient: DoRA's.

    Raises:
        KernelError: The operands do not fit together, in shape or device.
    """
    check_operands("row_norms", weight=weight_OI, down=down_RI, up=up_RO)
    check_fit("row_norms", weight_OI, weight_OI, None, down_RI, up_RO)
    # In half precision the norms' rounding would be noise in all outputs.
    with torch.autocast(weight_OI.device.type, enabled=False):
        form = form_for(weight_OI)
        if form == "triton":
            from autopeft.kernels.lora_linear.registered import row_norms as registered

            norms_O: Tensor = registered(weight_OI, down_RI, up_RO, scale)
            return norms_O
        return _NORMS[form](weight_OI.float(), down_RI.float(), up_RO.float(), scale)


_NORMS = {"naive": naive.row_norms, "eager": eager.row_norms}


def check_fit(  # noqa: PLR0917  # operands, in the order of the formula
    operator: str,
    x_I: Tensor,
    weight_OI: Tensor | None,
    bias_O: Tensor | None,
    down_RI: Tensor,
    up_RO: Tensor,
    ratio_O: Tensor | None = None,
    residual_O: Tensor | None = None,
) -> None:
    """Refuse operands whose shapes or precisions do not belong together.

    Raises:
        KernelError: It names the operand, and what it should be.
    """
    inputs, outputs, rank = x_I.shape[-1], up_RO.shape[-1], len(down_RI)
    fits: dict[str, tuple[Tensor | None, tuple[int, ...]]] = {
        "down": (down_RI, (rank, inputs)),
        "up": (up_RO, (rank, outputs)),
        "weight": (weight_OI, (outputs, inputs)),
        "bias": (bias_O, (outputs,)),
        "ratio": (ratio_O, (outputs,)),
        "residual": (residual_O, (*x_I.shape[:-1], outputs)),
    }
    for name, (operand, shape) in fits.items():
        if operand is None:
            continue
        if operand.shape != shape:
            raise KernelError(
                f"{operator} cannot take {name} of shape {tuple(operand.shape)} beside x of shape "
                f"{tuple(x_I.shape)}, down of {tuple(down_RI.shape)} and up of "
                f"{tuple(up_RO.shape)}: it needs {shape}"
            )
        if name not in {"down", "up", "ratio"} and operand.dtype != x_I.dtype:
            raise KernelError(
                f"{operator} needs x and {name} in one precision, not {x_I.dtype} and "
                f"{operand.dtype}: convert one of them, or run under torch.autocast"
            )


def _check_dropout(dropout: float, seed: int) -> None:
    if not 0 <= dropout < 1:
        raise KernelError(f"cannot drop a share of {dropout}: write one from 0 to below 1")
    if not isinstance(seed, int | torch.SymInt) or not -(2**63) <= seed < 2**63:
        raise KernelError(
            f"cannot draw what is dropped from the seed {seed!r}: write a whole number from -2^63 "
            "to below 2^63"
        )
