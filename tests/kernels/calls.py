"""A small call of every operator, with all operands that it has, and what it means.

Axes: B batch, T tokens, N rows, I inputs, O outputs, R rank, M bottleneck, H heads of queries, G
heads of keys, S keys, P prefix, K width of a head. ``GK`` is one axis as long as both together.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from autopeft.kernels.bottleneck import naive as bottleneck_naive
from autopeft.kernels.bottleneck.naive import Norm
from autopeft.kernels.bottleneck.operator import bottleneck
from autopeft.kernels.gated_sum import naive as gated_sum_naive
from autopeft.kernels.gated_sum.operator import gated_sum
from autopeft.kernels.grouped_lora_linear import naive as grouped_naive
from autopeft.kernels.grouped_lora_linear.operator import grouped_lora_linear
from autopeft.kernels.lora_linear import naive as lora_naive
from autopeft.kernels.lora_linear.operator import lora_linear, low_rank, row_norms
from autopeft.kernels.prefix_attention import naive as attention_naive
from autopeft.kernels.prefix_attention.operator import prefix_attention
from autopeft.kernels.scale_shift import naive as scale_shift_naive
from autopeft.kernels.scale_shift.operator import scale_shift

SIZES = {"B": 2, "T": 3, "N": 7, "I": 6, "O": 5, "R": 2, "M": 3, "H": 4, "G": 2, "S": 5, "P": 2}
SIZES["K"] = 8

Operands = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Call:
    """How an operator and its definition take operands, and the axes of these by name."""

    operator: Callable[[Operands], Tensor]
    definition: Callable[[Operands], Tensor]
    axes: Mapping[str, str]

    def operands(self, dtype: torch.dtype = torch.float32, **sizes: int) -> Operands:
        """Draw the operands, with other lengths of some axes if asked for."""
        long = SIZES | sizes
        generator = torch.Generator().manual_seed(0)
        shapes = {
            name: [prod(long[axis] for axis in part) for part in axes.split()]
            for name, axes in self.axes.items()
        }
        return {
            name: torch.randn(shape, generator=generator).to(dtype)
            for name, shape in shapes.items()
        }  # fmt: skip


def _call(axes: Mapping[str, str], operator: object, definition: object, take: object) -> Call:
    """Return a call: ``take`` says how either of the two takes the operands."""
    return Call(
        operator=lambda has: take(operator, has),
        definition=lambda has: take(definition, has),
        axes=axes,
    )


_FACTORS = {"down": "R I", "up": "R O"}
_LINEAR = {"x": "B T I", "weight": "O I", "bias": "O", **_FACTORS}


def _linear(way, has):
    more = {f"{name}_O": has[name] for name in ("ratio", "residual") if name in has}
    return way(*(has[name] for name in _LINEAR), 1.5, **more)


def _low_rank(way, has):
    return way(has["x"], has["down"], has["up"], 1.5)


def _norms(way, has):
    return way(has["weight"], has["down"], has["up"], 1.5)


def _parts(whole: int) -> tuple[int, int, int]:
    return whole - whole // 2, 0, whole // 2


def _grouped(way, has):
    """Of three segments the second has neither rows nor a rank, and the third has no rank."""
    rows, ranks = _parts(len(has["x"])), (len(has["down"]), 0, 0)
    return way(*(has[name] for name in _LINEAR), (1.5, 1.0, 0.5), ranks, rows)


def _bottleneck(way, has):
    norm = Norm(has["norm weight"], has["norm bias"])
    operands = (has[name] for name in ("x", "down", "bias", "up", "last bias"))
    return way(*operands, 1.5, "gelu", norm=norm, residual_O=has["residual"])


def _attention(way, has):
    prefix = has["prefix_key"], has["prefix_value"]
    sequence = has["query"], has["key"], has["value"]
    return way(*sequence, prefix, has["mask"], 0.4, gate_BTP=has.get("gate"))


_ATTENTION = {
    "query": "B H T K", "key": "B G S K", "value": "B G S K", "prefix_key": "P GK",
    "prefix_value": "P GK", "mask": "B H T S",
}  # fmt: skip

CALLS = {
    "lora_linear": _call(
        {**_LINEAR, "residual": "B T O"}, lora_linear, lora_naive.lora_linear, _linear
    ),
    "lora_linear with a ratio": _call(
        {**_LINEAR, "ratio": "O", "residual": "B T O"}, lora_linear, lora_naive.lora_linear, _linear
    ),
    "low_rank": _call({"x": "B T I", **_FACTORS}, low_rank, lora_naive.low_rank, _low_rank),
    "row_norms": _call(
        {"weight": "O I", **_FACTORS}, row_norms, torch.no_grad()(lora_naive.row_norms), _norms
    ),
    "grouped_lora_linear": _call(
        {**_LINEAR, "x": "N I"}, grouped_lora_linear, grouped_naive.grouped_lora_linear, _grouped
    ),
    "bottleneck": _call(
        {
            "x": "B T I", "down": "M I", "bias": "M", "up": "M O", "last bias": "O",
            "norm weight": "I", "norm bias": "I", "residual": "B T O",
        },
        bottleneck, bottleneck_naive.bottleneck, _bottleneck,
    ),
    "scale_shift": _call(
        {"x": "B T O", "scale": "O", "shift": "O"}, scale_shift, scale_shift_naive.scale_shift,
        lambda way, has: way(has["x"], has["scale"], has["shift"]),
    ),
    "gated_sum": _call(
        {"base": "B T O", "delta 0": "B T O", "gate 0": "B T"}, gated_sum,
        gated_sum_naive.gated_sum,
        lambda way, has: way(has["base"], [has["delta 0"]], [has["gate 0"]]),
    ),
    "prefix_attention": _call(
        _ATTENTION, prefix_attention, attention_naive.prefix_attention, _attention
    ),
    "prefix_attention with gates": _call(
        {**_ATTENTION, "gate": "B T P"}, prefix_attention, attention_naive.prefix_attention,
        _attention,
    ),
}  # fmt: skip


def outcomes(way: Callable[[Operands], Tensor], operands: Operands) -> dict[str, Tensor]:
    """Return the output, and the gradients of all operands by their names."""
    leaves = {name: x.detach().requires_grad_() for name, x in operands.items()}
    out = way(leaves)
    found = {"output": out.detach()}
    if out.requires_grad:
        generator = torch.Generator().manual_seed(9)
        upstream = torch.randn(out.shape, generator=generator, dtype=torch.float64)
        out.backward(upstream.to(out.dtype))
        found |= {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
    return found


def differences(call: Call, operands: Operands, share: float = 1e-4) -> list[str]:
    """Say what of a call is not what its definition gives in float64; nothing where all is."""
    found = outcomes(call.operator, operands)
    exact = outcomes(call.definition, {name: x.double() for name, x in operands.items()})
    said = [f"{name} is given by one of the two alone" for name in found.keys() ^ exact.keys()]
    for name in found.keys() & exact.keys():
        actual, expected = found[name], exact[name]
        if actual.shape != expected.shape:
            said.append(f"{name} has shape {tuple(actual.shape)}, not {tuple(expected.shape)}")
        elif expected.numel():
            error = (actual.double() - expected).abs().max().item()
            if not error <= share * max(expected.abs().max().item(), 1.0):  # NaN is not
                said.append(f"{name} is off by {error:.1e}")
    return said
