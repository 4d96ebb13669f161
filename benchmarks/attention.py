"""Fused against written-out attention on this processor, forward alone and with its backward.

    python benchmarks/attention.py

Why `kernels/prefix_attention/eager.py` takes the written-out form to train in bf16 on a CPU.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from autopeft.kernels.prefix_attention.naive import prefix_attention

WAYS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "fused": scaled_dot_product_attention,
    "written out": lambda q, k, v: prefix_attention(q, k, v, None, None, q.shape[-1] ** -0.5),
}


def milliseconds(way: str, tokens: int, dtype: torch.dtype, *, backward: bool) -> float:
    """Time one call on 32 sequences of 12 heads of width 32."""
    parts = [torch.randn(32, 12, tokens, 32).to(dtype).requires_grad_(backward) for _ in range(3)]
    began = time.perf_counter()
    out = WAYS[way](*parts)
    if backward:
        out.float().sum().backward()
    return 1e3 * (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    print("| dtype | tokens | what | fused ms | written out ms | ratio, median (quartiles) |")
    print("| --- | --: | --- | --: | --: | --: |")
    for dtype in (torch.float32, torch.bfloat16):
        for tokens in (24, 64):
            for backward in (False, True):
                pairs = [
                    [milliseconds(way, tokens, dtype, backward=backward) for way in WAYS]
                    for _ in range(options.rounds + 2)
                ][2:]
                low, middle, high = statistics.quantiles([f / w for f, w in pairs], n=4)
                fused, written = (statistics.median(column) for column in zip(*pairs, strict=True))
                what = "forward and backward" if backward else "forward"
                print(
                    f"| {str(dtype).removeprefix('torch.')} | {tokens} | {what} | {fused:.2f} | "
                    f"{written:.2f} | {middle:.2f} ({low:.2f} to {high:.2f}) |"
                )


if __name__ == "__main__":
    main()
