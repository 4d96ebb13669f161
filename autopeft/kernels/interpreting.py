"""Triton's interpreter, mended where it errs: kernels without a GPU, under ``TRITON_INTERPRET=1``.

Triton 3.9 keeps bf16 as whole numbers there. Its products are of these, not of what they stand for,
which is garbage without an error; and what it makes of fp32 is cut off, where GPUs round.
"""

from functools import cache
from typing import Any

import numpy as np
import torch


@cache
def mend() -> None:
    """Make products of bf16 right, once for the process, if Triton interprets kernels at all.

    Kernels that Triton compiles never come here, and nothing is touched where there are only those.
    """
    try:
        from triton import knobs
    except ImportError:  # and so there is nothing to mend
        return
    if not knobs.runtime.interpret:
        return
    from triton.runtime import interpreter

    interpreter.InterpreterBuilder.create_dot = _of_numbers(
        interpreter.InterpreterBuilder.create_dot
    )
    interpreter._convert_float = _rounding(interpreter._convert_float)  # noqa: SLF001  # no other name


def _of_numbers(product: Any) -> Any:
    """Multiply bf16 by way of fp32, in which all products of two of its numbers are exact."""
    from triton.language import bfloat16, float32

    def create_dot(builder: Any, a: Any, b: Any, *rest: Any) -> Any:
        a, b = (builder.cast_impl(x, float32) if x.dtype.scalar == bfloat16 else x for x in (a, b))
        return product(builder, a, b, *rest)

    return create_dot


def _rounding(convert: Any) -> Any:
    """Round fp32 to the nearest number of bf16; what is cut off errs twice as much."""
    from triton.language import bfloat16, float32

    def convert_float(data: Any, source: Any, target: Any, *rest: Any) -> Any:
        if (source, target) != (float32, bfloat16):
            return convert(data, source, target, *rest)
        numbers = torch.from_numpy(np.ascontiguousarray(data).view(np.float32))
        return numbers.bfloat16().view(torch.uint16).numpy()

    return convert_float
