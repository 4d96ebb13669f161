"""What an operator costs at the least: its arithmetic, its traffic with memory, and so its time.

Traffic counts each operand read once and each result written once, as a kernel does that keeps all
else on the chip; arithmetic counts the products, two operations for each multiplication, and where
there are none the work on each number. So no time on a device can be below ``Device.seconds``, as
long as operands lie in its memory and not in a cache from the call before, and fp32 is multiplied
as such and not in TF32. ``width`` is how many bytes a number has that is not trained.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch.nn.functional import linear

_TRAINED = 4
"""Bytes of a number that is trained: factors and their gradients are fp32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Floating point operations, and bytes to and from memory."""

    flops: int
    bytes: int

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(flops=self.flops + other.flops, bytes=self.bytes + other.bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """The cost of a call forward, and of its gradients."""

    forward: Cost
    backward: Cost

    @property
    def both(self) -> Cost:
        """The cost of a training step."""
        return self.forward + self.backward


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What a device can do at most: operations a second by type, and bytes of memory a second."""

    name: str
    flops: Mapping[torch.dtype, float]
    bandwidth: float

    def seconds(self, cost: Cost, dtype: torch.dtype) -> float:
        """Return the least time that products in a type can take."""
        return max(cost.flops / self.flops[dtype], cost.bytes / self.bandwidth)

    def beside(self, measured: float, cost: Cost, dtype: torch.dtype) -> str:
        """Write a time that was measured with its bound, and which share of it the bound is.

        Example:
            >>> half = Device(name="", flops={torch.bfloat16: 1e12}, bandwidth=1e12)
            >>> half.beside(0.004, Cost(flops=10**9, bytes=10**6), torch.bfloat16)
            '4.000 ms (at least 1.000 ms on this device: 25%)'
        """
        bound = self.seconds(cost, dtype)
        return (
            f"{1e3 * measured:.3f} ms (at least {1e3 * bound:.3f} ms on this device: "
            f"{bound / measured:.0%})"
        )


def _gpu(name: str, *, halves: float, single: float, bandwidth: float) -> Device:
    flops = {torch.bfloat16: halves, torch.float16: halves, torch.float32: single}
    return Device(name=name, flops=flops, bandwidth=bandwidth)


# Data sheets of the fastest board of each name, dense. For fp32 without TF32: where torch is set to
# that, lora_linear and prefix_attention multiply in it, and their products may be faster than this.
# NVIDIA A100 80GB SXM (312 TFLOPS, 19.5, 2,039 GB/s), NVIDIA H100 SXM (989.4, 66.9, 3.35 TB/s),
# AMD Instinct MI300X (1,307.4, 163.4, 5.3 TB/s).
GPUS = (
    _gpu("A100", halves=312e12, single=19.5e12, bandwidth=2.039e12),
    _gpu("H100", halves=989.4e12, single=66.9e12, bandwidth=3.35e12),
    _gpu("MI300X", halves=1307.4e12, single=163.4e12, bandwidth=5.3e12),
)


def device_named(name: str) -> Device | None:
    """Return the GPU that goes by a name such as ``NVIDIA A100-SXM4-80GB``; None if it is new."""
    return next((gpu for gpu in GPUS if gpu.name in name), None)


def device_of(device: torch.device) -> Device | None:
    """Return what a device can do at most: a GPU by its name, the processor by trying it."""
    if device.type == "cuda":
        return device_named(torch.cuda.get_device_name(device))
    return this_processor(torch.get_num_threads())


@cache
def this_processor(threads: int) -> Device:
    """Try how fast this processor multiplies and copies with so many threads, in 0.2 seconds.

    A large product and a copy of 64 MiB come close to what is possible, and not quite: what runs
    alone in a cache may be faster.
    """
    flops = {kind: _products(kind) for kind in (torch.float32, torch.bfloat16)}
    source, target = torch.ones(2, 2**24, dtype=torch.float32)
    copied = 2 * source.nbytes / _fastest(lambda: target.copy_(source))
    return Device(name=f"this processor, {threads} threads", flops=flops, bandwidth=copied)


def _products(kind: torch.dtype, width: int = 768) -> float:
    left, right = torch.ones(2, width, width).to(kind)
    with torch.inference_mode():
        return 2 * width**3 / _fastest(lambda: linear(left, right))


def _fastest(run: Callable[[], object], times: int = 4) -> float:
    """Return the least seconds of some runs, after one that counts for nothing."""
    run()
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def lora_linear(
    rows: int,
    inputs: int,
    outputs: int,
    rank: int,
    *,
    width: int,
    ratio: bool = False,
    residual: bool = False,
    frozen_down: bool = False,
) -> Passes:
    """Return the cost of LoRA's linear map on numbers of ``width`` bytes, its bias left out.

    The backward has gradients of the input and both factors; with a frozen ``down`` x is not read.
    A ratio has a gradient too, for which the outputs before it are kept.
    """
    found = grouped_lora_linear(
        (rows,), (rank,), inputs, outputs, width=width, residual=residual, frozen_down=frozen_down
    )
    if not ratio:
        return found
    read = Cost(flops=0, bytes=rows * outputs * width + outputs * _TRAINED)
    written = Cost(flops=0, bytes=outputs * _TRAINED)
    return Passes(forward=found.forward + read, backward=found.backward + read + written)


def grouped_lora_linear(
    rows: Sequence[int],
    ranks: Sequence[int],
    inputs: int,
    outputs: int,
    *,
    width: int,
    residual: bool = False,
    frozen_down: bool = False,
) -> Passes:
    """Return the cost of one linear map with a low-rank product for each segment of rows."""
    ranked = sum(n * r for n, r in zip(rows, ranks, strict=True))  # numbers inside all products
    down, up = sum(ranks) * inputs * _TRAINED, sum(ranks) * outputs * _TRAINED
    x, y, weight = (n * width for n in (sum(rows) * inputs, sum(rows) * outputs, inputs * outputs))
    products = 2 * sum(rows) * inputs * outputs + 2 * ranked * (inputs + outputs)
    hidden = ranked * width
    forward = Cost(
        flops=products,
        bytes=x + weight + down + up + hidden + y * (2 if residual else 1),
    )
    read = y + weight + down + up + hidden + (0 if frozen_down else x)
    backward = Cost(
        flops=products + 2 * ranked * (outputs if frozen_down else inputs + outputs),
        bytes=read + x + up + (0 if frozen_down else down),
    )
    return Passes(forward=forward, backward=backward)


def bottleneck(
    rows: int,
    inputs: int,
    hidden: int,
    outputs: int,
    *,
    width: int,
    residual: bool = False,
    norm: bool = False,
) -> Passes:
    """Return the cost of an adapter whose backward computes the bottleneck again."""
    trained = hidden * (inputs + outputs) + hidden + outputs + (2 * inputs if norm else 0)
    x, y = rows * inputs * width, rows * outputs * width
    forward = Cost(
        flops=2 * rows * hidden * (inputs + outputs),
        bytes=x + trained * _TRAINED + y * (2 if residual else 1),
    )
    backward = Cost(
        flops=2 * rows * hidden * (3 * inputs + 2 * outputs),
        bytes=2 * x + y + 2 * trained * _TRAINED,
    )
    return Passes(forward=forward, backward=backward)


def prefix_attention(
    *,
    batch: int,
    heads: int,
    key_heads: int,
    queries: int,
    keys: int,
    prefix: int,
    head: int,
    width: int,
    causal: bool = False,
    mask: int = 0,
) -> Passes:
    """Return the cost of attention over a prefix and a sequence, by heads of ``head`` numbers.

    ``mask`` are the mask's bytes. A causal call leaves out what is hidden, to a pair. The backward
    computes the weights again.
    """
    seen = sum(min(query + 1, keys) for query in range(queries)) if causal else queries * keys
    pairs = batch * heads * (seen + queries * prefix)
    query = batch * heads * queries * head * width
    sequence = 2 * batch * key_heads * keys * head * width
    learned = 2 * prefix * key_heads * head * _TRAINED
    sums = 2 * batch * heads * queries * 4
    forward = Cost(flops=4 * pairs * head, bytes=2 * query + sequence + learned + mask + sums)
    backward = Cost(
        flops=10 * pairs * head, bytes=4 * query + 2 * (sequence + learned) + mask + sums
    )
    return Passes(forward=forward, backward=backward)


def scale_shift(rows: int, features: int, *, width: int, shift: bool = True) -> Passes:
    """Return the cost of scaling and shifting every feature of a stream."""
    stream, factors = rows * features * width, features * (2 if shift else 1) * _TRAINED
    once = rows * features * (2 if shift else 1)
    return Passes(
        forward=Cost(flops=once, bytes=2 * stream + factors),
        backward=Cost(
            flops=once + 2 * rows * features, bytes=3 * stream + factors + features * _TRAINED
        ),
    )


def gated_sum(rows: int, features: int, deltas: int, *, width: int, gates: int) -> Passes:
    """Return the cost of adding streams, each times a gate; ``gates`` are all gates' numbers.

    The gradient of the base is that of the sum, and costs nothing.
    """
    stream, gate = rows * features * width, gates * _TRAINED
    numbers = deltas * rows * features
    return Passes(
        forward=Cost(flops=2 * numbers, bytes=(2 + deltas) * stream + gate),
        backward=Cost(flops=3 * numbers, bytes=(1 + 2 * deltas) * stream + 2 * gate),
    )
