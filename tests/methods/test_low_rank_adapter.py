"""The low-rank adapter of S3PET against matrices that are written out."""

import torch

from autopeft.methods.low_rank_adapter import LowRankAdapter
from tests.builders import BERT_BASE, bert_shaped
from tests.methods.filling import count

WIDE = bert_shaped("as wide as T5-large", blocks=1, width=1024, feedforward=4096, parameters=1)


def test_its_matrices_are_products_of_two_factors():
    """The tanh form of GELU, as T5 and S3PET use it."""
    generator = torch.Generator().manual_seed(0)
    adapter = LowRankAdapter(64, 2, 0.5, generator)
    with torch.no_grad():
        for value in adapter.parameters():
            value.add_(torch.randn(value.shape, generator=generator))
    x = torch.randn(3, 64, generator=generator)

    down = adapter.down_in.T @ adapter.down_out
    up = adapter.up_in.T @ adapter.up_out
    z = x @ down + adapter.down_bias
    inside = 0.5 * z * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (z + 0.044715 * z**3)))
    expected = 0.5 * (inside @ up + adapter.up_bias)

    assert down.shape == (64, 2)
    torch.testing.assert_close(adapter(x), expected, rtol=1e-4, atol=1e-4)


def test_the_count_is_that_of_s3pet():
    """Width 1024, bottleneck 32, rank 1: 2,112 in the matrices and 1,056 in the biases."""
    assert count(WIDE, {"low_rank_adapter@ffn.output": 1}) == 2 * (1024 + 32) + 1056 == 3168
    assert count(WIDE, {"low_rank_adapter@ffn.output": 3}) == 3 * 2112 + 1056
    assert count(BERT_BASE, {"low_rank_adapter@attention.output": 1}) == 12 * (2 * 792 + 792)
