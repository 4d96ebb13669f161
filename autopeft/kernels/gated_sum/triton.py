"""The gated sum on a GPU: one pass forward, one pass backward. ``README.md`` has the formulas.

Axes: N rows, O features, K parts. A gate is a column of one number a row here. In kernels ``b_`` is
a value, ``p_`` a pointer, ``o_`` an offset, ``m_`` a mask.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from collections.abc import Iterator, Sequence
from itertools import chain, repeat

import torch
import triton
import triton.language as tl
from torch import Tensor

from autopeft.kernels.tuning import Tiles, run
from autopeft.kernels.variants import Variant

MOST = 4
"""How many parts one kernel takes; ``registered.py`` goes on from sum to sum with more."""

_FORWARD = (
    Tiles(blocks={"BN": 8, "BO": 256}, warps=4, stages=2),
    Tiles(blocks={"BN": 4, "BO": 1024}, warps=8, stages=2),
)
_BACKWARD = (
    Tiles(blocks={"BN": 4, "BO": 256}, warps=4, stages=2),
    Tiles(blocks={"BN": 8, "BO": 256}, warps=4, stages=3),
)


@triton.jit
def _weighed(p_delta, p_gate, o_N, m_N, o_NO, m_NO):
    b_gate = tl.load(p_gate + o_N, m_N, 0.0).to(tl.float32)
    return b_gate[:, None] * tl.load(p_delta + o_NO, m_NO, 0.0).to(tl.float32)


@triton.jit
def gated_sum_fwd_kernel(
    p_base,
    p_delta0,
    p_gate0,
    p_delta1,
    p_gate1,
    p_delta2,
    p_gate2,
    p_delta3,
    p_gate3,
    p_y,
    N,
    O,
    K: tl.constexpr,
    BN: tl.constexpr,
    BO: tl.constexpr,
):
    o_N = tl.program_id(0).to(tl.int64) * BN + tl.arange(0, BN)
    o_O = tl.program_id(1) * BO + tl.arange(0, BO)
    m_N = o_N < N
    m_NO = m_N[:, None] & (o_O < O)[None, :]
    o_NO = o_N[:, None] * O + o_O[None, :]
    b_y = tl.load(p_base + o_NO, m_NO, 0.0).to(tl.float32)
    b_y += _weighed(p_delta0, p_gate0, o_N, m_N, o_NO, m_NO)
    if K > 1:
        b_y += _weighed(p_delta1, p_gate1, o_N, m_N, o_NO, m_NO)
    if K > 2:
        b_y += _weighed(p_delta2, p_gate2, o_N, m_N, o_NO, m_NO)
    if K > 3:
        b_y += _weighed(p_delta3, p_gate3, o_N, m_N, o_NO, m_NO)
    tl.store(p_y + o_NO, b_y, m_NO)


@triton.jit
def gated_sum_bwd_kernel(
    p_g,
    p_delta,
    p_gate,
    p_d_delta,
    p_d_gate,
    N,
    O,
    DELTA: tl.constexpr,
    GATE: tl.constexpr,
    BN: tl.constexpr,
    BO: tl.constexpr,
):
    o_N = tl.program_id(0).to(tl.int64) * BN + tl.arange(0, BN)
    m_N = o_N < N
    b_gate = tl.load(p_gate + o_N, m_N, 0.0).to(tl.float32)
    b_sum = tl.zeros((BN,), tl.float32)
    for start in range(0, O, BO):
        o_O = start + tl.arange(0, BO)
        m_NO = m_N[:, None] & (o_O < O)[None, :]
        o_NO = o_N[:, None] * O + o_O[None, :]
        b_g = tl.load(p_g + o_NO, m_NO, 0.0).to(tl.float32)
        if GATE:
            b_delta = tl.load(p_delta + o_NO, m_NO, 0.0).to(tl.float32)
            b_sum += tl.sum(b_g * b_delta, 1)
        if DELTA:
            tl.store(p_d_delta + o_NO, b_g * b_gate[:, None], m_NO)
    if GATE:
        tl.store(p_d_gate + o_N, b_sum, m_N)


def forward(base_NO: Tensor, deltas_NO: Sequence[Tensor], gates_N: Sequence[Tensor]) -> Tensor:
    """Return the sum of the base and at most ``MOST`` parts; what is not contiguous is copied."""
    base_NO = base_NO.contiguous()
    y_NO = torch.empty_like(base_NO)
    N, O = base_NO.shape  # axes
    pairs = zip(deltas_NO, gates_N, strict=True)
    parts = [tensor.contiguous() for tensor in chain.from_iterable(pairs)]
    parts_and_none = [*parts, *repeat(None, 2 * MOST - len(parts))]

    def launch(tiles: Tiles) -> None:
        grid = triton.cdiv(N, tiles.blocks["BN"]), triton.cdiv(O, tiles.blocks["BO"])
        gated_sum_fwd_kernel[grid](
            base_NO, *parts_and_none, y_NO, N, O, K=len(deltas_NO),
            **tiles.blocks, **tiles.options,
        )  # fmt: skip

    if y_NO.numel():
        key = (O, base_NO.dtype, *(part.dtype for part in parts))
        run("gated_sum_fwd", key, _FORWARD, launch, base_NO)
    return y_NO


def backward(
    g_NO: Tensor, delta_NO: Tensor, gate_N: Tensor, wants_delta: bool, wants_gate: bool
) -> tuple[Tensor, Tensor]:
    """Return the gradients of one part and its gate; empty where they are not wanted."""
    g_NO, delta_NO, gate_N = g_NO.contiguous(), delta_NO.contiguous(), gate_N.contiguous()
    N, O = delta_NO.shape  # axes
    d_delta = torch.empty_like(delta_NO) if wants_delta else delta_NO.new_empty(0)
    d_gate = torch.empty_like(gate_N) if wants_gate else gate_N.new_empty(0)

    def launch(tiles: Tiles) -> None:
        gated_sum_bwd_kernel[triton.cdiv(N, tiles.blocks["BN"]),](
            g_NO, delta_NO, gate_N, d_delta, d_gate, N, O,
            DELTA=wants_delta, GATE=wants_gate, **tiles.blocks, **tiles.options,
        )  # fmt: skip

    if N:
        key = O, g_NO.dtype, delta_NO.dtype, gate_N.dtype, wants_delta, wants_gate
        run("gated_sum_bwd", key, _BACKWARD, launch, delta_NO)
    return d_delta, d_gate


def _variants() -> Iterator[Variant]:
    numbers = {"N": "i32", "O": "i32"}
    for x, gate in ("bf16", "bf16"), ("bf16", "fp32"), ("fp16", "fp32"), ("fp32", "fp32"):
        for tiles in _BACKWARD:
            yield Variant(
                name=f"gated_sum_bwd {_name(x, gate, tiles)}",
                kernel=gated_sum_bwd_kernel,
                types={
                    **dict.fromkeys(("p_g", "p_delta", "p_d_delta"), f"*{x}"),
                    **dict.fromkeys(("p_gate", "p_d_gate"), f"*{gate}"),
                    **numbers,
                },
                constants={"DELTA": True, "GATE": True},
                tiles=tiles,
            )
        for count in range(1, MOST + 1):
            for tiles in _FORWARD:
                present = range(count)
                absent = [(f"p_delta{k}", f"p_gate{k}") for k in range(count, MOST)]
                yield Variant(
                    name=f"gated_sum_fwd {_name(x, gate, tiles)} of {count}",
                    kernel=gated_sum_fwd_kernel,
                    types={
                        **dict.fromkeys(("p_base", "p_y"), f"*{x}"),
                        **{f"p_delta{k}": f"*{x}" for k in present},
                        **{f"p_gate{k}": f"*{gate}" for k in present},
                        **numbers,
                    },
                    constants={"K": count, **dict.fromkeys(chain.from_iterable(absent))},
                    tiles=tiles,
                )


def _name(x: str, gate: str, tiles: Tiles) -> str:
    return f"{x} {gate} {'x'.join(str(size) for size in tiles.blocks.values())}"


VARIANTS = tuple(_variants())
"""What is compiled ahead of time."""
