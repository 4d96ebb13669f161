"""The ways of attention on this processor: time, and what they keep for the backward.

    python benchmarks/attention.py
    python benchmarks/attention.py --width 64 --tokens 128 256

The batch is padded, and there are 10 learned keys. Why `kernels/prefix_attention/eager.py` takes
which way: `eager` is what it takes. Ways take turns within a round, and the time is that of the
processor, one thread, so that other work on the machine counts little.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import scaled_dot_product_attention

from autopeft.kernels.prefix_attention import eager, naive
from autopeft.kernels.prefix_attention.chunked import chunked

HEADS, LEARNED = 12, 10


@dataclass(frozen=True, kw_only=True)
class Operands:
    """Queries, keys and values as a layer projects them, a prefix, and a mask of padding."""

    query: Tensor
    key: Tensor
    value: Tensor
    prefix: tuple[Tensor, Tensor]
    mask: Tensor
    scale: float = field(init=False, default=0.125)

    @classmethod
    def drawn(cls, batch: int, tokens: int, width: int, dtype: torch.dtype) -> "Operands":
        """Return random ones, each with a gradient of its own."""
        query, key, value = (
            torch.randn(batch, tokens, HEADS, width).to(dtype).requires_grad_() for _ in range(3)
        )
        prefix = [torch.randn(LEARNED, HEADS * width).requires_grad_() for _ in range(2)]
        lengths = torch.randint(tokens // 2, tokens + 1, (batch, 1, 1, 1))
        mask = (torch.arange(tokens) < lengths).expand(batch, 1, tokens, tokens)
        by_heads = (x.transpose(1, 2) for x in (query, key, value))
        return cls(
            **dict(zip(("query", "key", "value"), by_heads, strict=True)),
            prefix=(prefix[0], prefix[1]),
            mask=mask,
        )


def fused(x: Operands, dtype: torch.dtype) -> Tensor:
    key, value, mask = naive.with_prefix(x.query, x.key, x.value, x.prefix, x.mask, False)
    out = scaled_dot_product_attention(
        x.query.to(dtype), key.to(dtype), value.to(dtype), attn_mask=mask, scale=x.scale
    )
    return out.to(x.query.dtype)


WAYS: dict[str, Callable[[Operands], Tensor]] = {
    "written out": lambda x: naive.prefix_attention(
        x.query, x.key, x.value, x.prefix, x.mask, x.scale
    ),
    "fused": lambda x: fused(x, x.query.dtype),
    "fused in fp32": lambda x: fused(x, torch.float32),
    "in pieces": lambda x: chunked(
        x.query, x.key, x.value, x.prefix, x.mask, x.scale, causal=False
    ),
    "eager": lambda x: eager.prefix_attention(
        x.query, x.key, x.value, x.prefix, x.mask, x.scale
    ),
}  # fmt: skip


def milliseconds(way: str, operands: Operands, *, backward: bool) -> float:
    """Time one call."""
    began = time.process_time()
    with torch.set_grad_enabled(backward):
        out = WAYS[way](operands)
    if backward:
        out.backward(out.detach())
    return 1e3 * (time.process_time() - began)


def kept(way: str, operands: Operands) -> float:
    """Return the MiB that a call keeps for its backward, operands among them."""
    storages: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        out = WAYS[way](operands)
    del out
    return sum(storages.values()) / 2**20


def rows(options: argparse.Namespace) -> Iterator[str]:
    for dtype in (torch.float32, torch.bfloat16):
        for tokens in options.tokens:
            batch = max(1, 2048 // tokens)
            for backward in (False, True):
                times: dict[str, list[float]] = {way: [] for way in WAYS}
                for _ in range(options.rounds + 1):
                    operands = Operands.drawn(batch, tokens, options.width, dtype)
                    for way, taken in times.items():
                        taken.append(milliseconds(way, operands, backward=backward))
                cells = [f"{statistics.median(taken[1:]):.1f}" for taken in times.values()]
                if backward:
                    memory = [kept(way, operands) for way in WAYS]
                    cells = [
                        f"{cell}, {size:.0f}" for cell, size in zip(cells, memory, strict=True)
                    ]
                what = "forward and backward" if backward else "forward"
                name = str(dtype).removeprefix("torch.")
                yield f"| {name} | {batch} x {tokens} | {what} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--tokens", type=int, nargs="+", default=[24, 64, 128, 256, 512, 1024])
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"ms, and MiB kept; {HEADS} heads of width {options.width}, {LEARNED} learned keys\n")
    print("| dtype | batch | what | " + " | ".join(WAYS) + " |")
    print("| --- | --: | --- |" + " --: |" * len(WAYS))
    for row in rows(options):
        print(row, flush=True)


if __name__ == "__main__":
    main()
