"""The interpreter, as the other tests of this folder need it."""

import pytest
import torch
import triton
import triton.language as tl

from autopeft.kernels.interpreting import mend


@triton.jit
def product_kernel(p_x, p_y, BLOCK: tl.constexpr):
    o_x = tl.arange(0, BLOCK)[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    b_x = tl.load(p_x + o_x)
    tl.store(p_y + o_x, tl.dot(b_x, b_x, input_precision="ieee"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_products_are_those_of_the_numbers(dtype, close):
    x = torch.randn(16, 16).to(dtype)
    y = torch.empty(16, 16)
    mend()

    product_kernel[(1,)](x, y, BLOCK=16)

    close(y, x.double() @ x.double())


def test_what_is_not_written_is_nan():
    assert torch.empty(4).isnan().all()
