"""The kernels as operators of PyTorch: autograd, autocast and ``torch.compile`` see one node each.

Axes as in ``triton.py``.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from autopeft.kernels.gated_sum import triton as kernels


def run(base_O: Tensor, deltas_O: Sequence[Tensor], gates: Sequence[Tensor]) -> Tensor:
    """Return what ``naive.gated_sum`` returns, to rounding.

    A gate of fewer numbers than rows is spread over them, so that autograd adds up its gradient.
    """
    leading = base_O.shape[:-1]
    rows = prod(leading), base_O.shape[-1]
    sum_NO = base_O.reshape(rows)
    deltas = [delta_O.reshape(rows) for delta_O in deltas_O]
    columns = [gate.expand(leading).reshape(rows[0]) for gate in gates]
    for first in range(0, len(deltas), kernels.MOST):
        some = slice(first, first + kernels.MOST)
        sum_NO = gated_sum(sum_NO, deltas[some], columns[some])
    return sum_NO.view(base_O.shape)


@torch.library.custom_op("autopeft::gated_sum", mutates_args=())
def gated_sum(base_NO: Tensor, deltas_NO: list[Tensor], gates_N: list[Tensor]) -> Tensor:
    """Return the base and at most ``MOST`` deltas, each times its gate, in one sum."""
    return kernels.forward(base_NO, deltas_NO, gates_N)


@gated_sum.register_fake
def _(base_NO: Tensor, _deltas_NO: list[Tensor], _gates_N: list[Tensor]) -> Tensor:
    return base_NO.new_empty(base_NO.shape)


@torch.library.custom_op("autopeft::gated_sum_backward", mutates_args=())
def gated_sum_backward(
    g_NO: Tensor, delta_NO: Tensor, gate_N: Tensor, wants_delta: bool, wants_gate: bool
) -> tuple[Tensor, Tensor]:
    """Return the gradients of one delta and of its gate; empty where they are not wanted."""
    return kernels.backward(g_NO, delta_NO, gate_N, wants_delta, wants_gate)


@gated_sum_backward.register_fake
def _(
    _g_NO: Tensor, delta_NO: Tensor, gate_N: Tensor, wants_delta: bool, wants_gate: bool
) -> tuple[Tensor, Tensor]:
    return (
        delta_NO.new_empty(delta_NO.shape if wants_delta else (0,)),
        gate_N.new_empty(gate_N.shape if wants_gate else (0,)),
    )


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001  # torch's
    _, deltas, gates = inputs
    ctx.parts = len(deltas)
    ctx.save_for_backward(*deltas, *gates)


def _backward(ctx: Any, g_NO: Tensor) -> tuple[Any, ...]:
    saved, (_, deltas, gates) = ctx.saved_tensors, ctx.needs_input_grad
    pairs = zip(saved[: ctx.parts], saved[ctx.parts :], deltas, gates, strict=True)
    d_deltas, d_gates = [], []
    for delta_NO, gate_N, *wanted in pairs:
        d_delta, d_gate = gated_sum_backward(g_NO, delta_NO, gate_N, *wanted)
        d_deltas.append(d_delta if wanted[0] else None)
        d_gates.append(d_gate if wanted[1] else None)
    return g_NO, d_deltas, d_gates


gated_sum.register_autograd(_backward, setup_context=_keep)
