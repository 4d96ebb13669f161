"""The kernels in Triton's interpreter: ``TRITON_INTERPRET=1 pytest tests/kernels/interpreted``.

The interpreter is chosen when a kernel is defined, so these tests have a process of their own.
Without the variable nothing is collected here, and pytest, asked for this folder alone, fails.
"""

import os

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
