"""``torch.compile`` takes an operator's form for a CPU whole: nothing in it breaks the graph."""

import pytest
import torch

from autopeft.kernels.bottleneck.operator import bottleneck
from autopeft.kernels.gated_sum.operator import gated_sum
from autopeft.kernels.grouped_lora_linear.operator import grouped_lora_linear
from autopeft.kernels.lora_linear.operator import lora_linear
from autopeft.kernels.prefix_attention.operator import prefix_attention
from autopeft.kernels.scale_shift.operator import scale_shift

X = (2, 3, 5)
HEADS = (2, 4, 3, 8), (2, 2, 5, 8), (2, 2, 5, 8), (2, 16), (2, 16)
CALLS = {
    "lora_linear": (lambda *given: lora_linear(*given, 1.5), (X, (4, 5), (4,), (2, 5), (2, 4))),
    "grouped_lora_linear": (
        lambda *given: grouped_lora_linear(*given, (1.5, 1.0), (1, 2), (3, 4)),
        ((7, 5), (4, 5), (4,), (3, 5), (3, 4)),
    ),
    "bottleneck": (
        lambda *given: bottleneck(*given, 1.5, "gelu"),
        (X, (4, 5), (4,), (4, 6), (6,)),
    ),
    "scale_shift": (scale_shift, (X, (5,), (5,))),
    "gated_sum": (lambda base, delta, gate: gated_sum(base, [delta], [gate]), (X, X, (2, 1))),
    "prefix_attention": (
        lambda query, key, value, *prefix: prefix_attention(query, key, value, prefix, None, 0.4),
        HEADS,
    ),
}


@pytest.fixture(autouse=True)
def _nothing_is_compiled_yet():
    torch.compiler.reset()


@pytest.mark.parametrize("name", CALLS)
def test_a_compiled_call_is_one_graph_and_gives_the_same(name):
    function, sizes = CALLS[name]
    generator = torch.Generator().manual_seed(0)
    operands = [torch.randn(size, generator=generator).bfloat16() for size in sizes]
    found = []
    for way in torch.compile(function, backend="aot_eager", fullgraph=True), function:
        leaves = [operand.clone().requires_grad_() for operand in operands]
        out = way(*leaves)
        out.float().square().sum().backward()
        found.append([out.detach(), *(leaf.grad for leaf in leaves)])

    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
