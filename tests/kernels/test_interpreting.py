"""Under ``TRITON_INTERPRET=1`` operators are right in a process that has done nothing else."""

import os
import subprocess
import sys

import pytest

from autopeft.kernels.interpreting import mend

CALL = """
import torch
from autopeft.kernels.forms import using
from autopeft.kernels.lora_linear.operator import low_rank

x, down, up = (torch.randn(*size).bfloat16() for size in ((7, 33), (5, 33), (5, 20)))
with using("triton"):
    found = low_rank(x, down, up, 1.5).double()
expected = 1.5 * (x.double() @ down.double().T) @ up.double()
error = (found - expected).abs().max() / expected.abs().max()
assert error < 1.6e-2, error.item()
"""


@pytest.mark.slow
def test_products_of_bf16_are_right_without_any_help():
    """Of Triton 3.9's own interpreter they are garbage; no fixture of the tests stands in here."""
    pytest.importorskip("triton")

    asked = os.environ | {"TRITON_INTERPRET": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", CALL], env=asked, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stderr


def test_where_kernels_are_compiled_nothing_is_touched():
    pytest.importorskip("triton")
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("kernels are interpreted here")
    from triton.runtime import interpreter

    before = interpreter.InterpreterBuilder.create_dot, interpreter._convert_float

    mend()

    assert before == (interpreter.InterpreterBuilder.create_dot, interpreter._convert_float)
