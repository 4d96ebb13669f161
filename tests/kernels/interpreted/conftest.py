"""The kernels in Triton's interpreter: ``TRITON_INTERPRET=1 pytest tests/kernels/interpreted``.

The interpreter is chosen when a kernel is defined, so these tests have a process of their own.
Without the variable nothing is collected here, and pytest, asked for this folder alone, fails.
"""

import os

import numpy as np
import pytest
import torch

collect_ignore_glob = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["*"]

# A product of a few hundred terms, summed up in fp32, is rounded once or twice to the type of its
# operands (2^-9 in bf16, 2^-12 in fp16), and fp32 errs by its sums: shares of the largest value.
TOLERANCES = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


@pytest.fixture(autouse=True)
def _unwritten_memory_is_nan():
    """Fill what ``torch.empty`` gives with NaN, so that a cell that no program writes shows."""
    asked = torch.are_deterministic_algorithms_enabled()
    fills = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.utils.deterministic.fill_uninitialized_memory = fills
    torch.use_deterministic_algorithms(asked)


@pytest.fixture(autouse=True)
def _products_of_bf16_are_of_numbers(monkeypatch):
    """Multiply bf16 by way of fp32: Triton 3.9's interpreter multiplies what its bits count to."""
    from triton.language import bfloat16, float32
    from triton.runtime.interpreter import InterpreterBuilder

    plain = InterpreterBuilder.create_dot

    def create_dot(self, a, b, *rest):
        a, b = (self.cast_impl(x, float32) if x.dtype.scalar == bfloat16 else x for x in (a, b))
        return plain(self, a, b, *rest)

    monkeypatch.setattr(InterpreterBuilder, "create_dot", create_dot)


@pytest.fixture(autouse=True)
def _numbers_are_rounded_to_the_nearest(monkeypatch):
    """Round fp32 to bf16 as GPUs do: Triton 3.9's interpreter cuts off, and errs twice as much."""
    from triton.language import bfloat16, float32
    from triton.runtime import interpreter

    plain = interpreter._convert_float

    def convert(data, source, target, *rest):
        if (source, target) != (float32, bfloat16):
            return plain(data, source, target, *rest)
        numbers = torch.from_numpy(np.ascontiguousarray(data).view(np.float32))
        return numbers.bfloat16().view(torch.uint16).numpy()

    monkeypatch.setattr(interpreter, "_convert_float", convert)


@pytest.fixture
def close():
    """Give what asserts that a result is what the definition gives in float64.

    ``dtype`` is that of the operands, where the result has a finer one: an fp32 gradient of
    products in bf16. ``least`` is how large what is summed up is, where a sum may be nothing.
    """

    def assert_close(actual, expected, dtype=None, what="output", least=1e-3):
        assert actual.shape == expected.shape, what
        if expected.numel() == 0:
            return
        share = max(TOLERANCES[dtype or actual.dtype], TOLERANCES[actual.dtype])
        torch.testing.assert_close(
            actual.double(),
            expected.double(),
            rtol=0,
            atol=share * max(expected.abs().max().item(), least),
            msg=lambda text: f"{what}: {text}",
        )

    return assert_close
