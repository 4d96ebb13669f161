"""Prefix attention by its Triton kernels: what is allocated, and how they are started.

Tensors may have any strides; one whose widths do not lie side by side is copied. Axes as in
``kernels.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from autopeft.kernels.prefix_attention import kernels
from autopeft.kernels.prefix_attention.cuts import VARIANTS, ways
from autopeft.kernels.tuning import Tiles, on, run

__all__ = ["VARIANTS", "backward", "forward", "gradients_like", "outputs_like"]

Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
ROWS = 512
"""Queries of an example whose gradient of a prefix one program sums up; then these are summed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operands:
    """What attention reads. The mask and the gate are as large as what they are applied to."""

    query_BHTK: Tensor
    key_BGSK: Tensor
    value_BGSV: Tensor
    prefix_key: Tensor | None
    prefix_value: Tensor | None
    mask_BHTS: Tensor | None
    gate_BTP: Tensor | None
    seed: Tensor | None
    scale: float
    dropout: float
    causal: bool
    softcap: float | None

    @property
    def learned(self) -> int:
        """Count the positions of the prefix."""
        return 0 if self.prefix_key is None else len(self.prefix_key)

    @property
    def empty(self) -> bool:
        """Say whether there is no query, or nothing to look at."""
        nothing = self.key_BGSK.shape[2] + self.learned == 0 or self.value_BGSV.shape[3] == 0
        return nothing or self.query_BHTK.shape[:3].numel() == 0

    @property
    def with_gradients(self) -> tuple[Tensor | None, ...]:
        """Return what can have a gradient, in the order of the operator."""
        return (
            self.query_BHTK, self.key_BGSK, self.value_BGSV, self.prefix_key, self.prefix_value,
            self.mask_BHTS, self.gate_BTP,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which gradients are asked for; those of keys and of values come together."""

    query: bool
    keys: bool
    prefix: bool
    mask: bool
    gate: bool

    @classmethod
    def of(cls, asked: Sequence[bool]) -> "Wanted":
        """Read it from one answer for each operand, in the order of the operator."""
        query, key, value, prefix_key, prefix_value, mask, gate = asked
        return cls(
            query=query, keys=key or value, prefix=prefix_key or prefix_value, mask=mask, gate=gate
        )


def outputs_like(query_BHTK: Tensor, value_BGSV: Tensor) -> tuple[Tensor, Tensor]:
    """Return memory for the output and for the peak and the sum of each query's softmax."""
    out_BHTV = _by_tokens(query_BHTK, value_BGSV.shape[3])
    return out_BHTV, query_BHTK.new_empty(2, *query_BHTK.shape[:3], dtype=torch.float32)


def forward(given: Operands) -> tuple[Tensor, Tensor]:
    """Return what ``outputs_like`` makes room for."""
    out_BHTV, stats = outputs_like(given.query_BHTK, given.value_BGSV)
    if given.empty:
        return out_BHTV.zero_(), stats.zero_()
    arguments = {
        **_read(given), **_both_kinds_of_keys(given), **_strides("out", out_BHTV, "bht"),
        "p_out": out_BHTV, "p_peak": stats[0], "p_sum": stats[1],
    }  # fmt: skip
    _launch(kernels.prefix_attention_fwd_kernel, given, arguments, "T")
    return out_BHTV, stats


def gradients_like(operands: Sequence[Tensor | None], wanted: Wanted) -> Gradients:
    """Return memory for the gradients of query, key, value, prefix keys and values, mask, gate.

    They are shaped as their operands, and without elements where they are not wanted.
    """
    query, key, value, prefix_key, prefix_value, mask, gate = operands
    assert query is not None
    empty = [query.new_empty(0) for _ in operands]

    def memory(place: int, tensor: Tensor | None, asked: bool) -> Tensor:
        if tensor is None or not asked:
            return empty[place]
        return _by_tokens(tensor, tensor.shape[3]) if place < 3 else tensor.new_empty(tensor.shape)

    return (
        memory(0, query, wanted.query), memory(1, key, wanted.keys), memory(2, value, wanted.keys),
        memory(3, prefix_key, wanted.prefix), memory(4, prefix_value, wanted.prefix),
        memory(5, mask, wanted.mask), memory(6, gate, wanted.gate),
    )  # fmt: skip


def backward(
    grad_BHTV: Tensor, out_BHTV: Tensor, stats: Tensor, given: Operands, wanted: Wanted
) -> Gradients:
    """Return what ``gradients_like`` makes room for."""
    found = gradients_like(given.with_gradients, wanted)
    query, key, value, prefix_key, prefix_value, mask, gate = found
    if given.empty:
        for gradient in found:
            gradient.zero_()
        return found
    grad_BHTV = _dense(grad_BHTV)
    incoming = {
        "p_grad": grad_BHTV, "p_peak": stats[0], "p_sum": stats[1],
        "p_delta": _delta(grad_BHTV, out_BHTV), **_strides("grad", grad_BHTV, "bht"),
    }  # fmt: skip
    if wanted.query or wanted.mask or wanted.gate:
        _to_queries(given, incoming, query, mask, gate)
    if wanted.keys and given.key_BGSK.shape[2]:
        _to_sequence(given, incoming, key, value)
    if wanted.prefix and given.learned:
        _to_prefix(given, incoming, prefix_key, prefix_value)
    return found


def _delta(grad_BHTV: Tensor, out_BHTV: Tensor) -> Tensor:
    batch, heads, queries, width = out_BHTV.shape
    delta_BHT = out_BHTV.new_empty(batch, heads, queries, dtype=torch.float32)
    tile = 64
    with on(out_BHTV):
        kernels.prefix_attention_bwd_kernel_delta[(batch * heads * -(-queries // tile),)](
            p_out=out_BHTV, p_grad=grad_BHTV, p_delta=delta_BHT, H=heads, T=queries, V=width,
            **_strides("out", out_BHTV, "bht"), **_strides("grad", grad_BHTV, "bht"),
            BLOCK_T=tile, BLOCK_V=_block(width),
        )  # fmt: skip
    return delta_BHT


def _to_queries(
    given: Operands, incoming: dict[str, Any], dquery: Tensor, dmask: Tensor, dgate_BTP: Tensor
) -> None:
    batch, heads, queries, _ = given.query_BHTK.shape
    if not dquery.numel():
        dquery = torch.empty_like(given.query_BHTK)
    gated = given.gate_BTP is not None
    dgate_BHTP = _sums(given, batch, heads, queries, given.learned) if gated else None
    if given.causal:
        dmask.zero_()  # blocks that the order hides are not visited
    arguments = {
        **_read(given), **_both_kinds_of_keys(given), **incoming,
        **_strides("dquery", dquery, "bht"), "p_dquery": dquery, "p_dgate": dgate_BHTP,
        "p_dmask": dmask if dmask.numel() else None, "DMASK": dmask.numel() > 0,
    }  # fmt: skip
    _launch(kernels.prefix_attention_bwd_kernel_queries, given, arguments, "T")
    if dgate_BHTP is not None and dgate_BTP.numel():
        dgate_BTP.copy_(dgate_BHTP.sum(1))


def _to_sequence(given: Operands, incoming: dict[str, Any], dkey: Tensor, dvalue: Tensor) -> None:
    key, value = _dense(given.key_BGSK), _dense(given.value_BGSV)
    arguments = {
        **_read(given), **incoming, "p_key": key, "p_value": value, "p_dkey": dkey,
        "p_dvalue": dvalue, "S": key.shape[2], "GATED": False, "before": given.learned,
        "chunks": 1, "rows": given.query_BHTK.shape[2],
        **_strides("key", key, "bgs"), **_strides("value", value, "bgs"),
        **_strides("dkey", dkey, "ngs"), **_strides("dvalue", dvalue, "ngs"),
    }  # fmt: skip
    _launch(kernels.prefix_attention_bwd_kernel_keys, given, arguments, "S")


def _to_prefix(given: Operands, incoming: dict[str, Any], dkey: Tensor, dvalue: Tensor) -> None:
    key, value = _prefix(given)
    width, value_width = given.query_BHTK.shape[3], given.value_BGSV.shape[3]
    groups, chunks = given.key_BGSK.shape[1], -(-given.query_BHTK.shape[2] // ROWS)
    parts = given.query_BHTK.shape[0] * chunks
    dkey_NPGK = _sums(given, parts, len(key), groups, width)
    dvalue_NPGV = _sums(given, parts, len(key), groups, value_width)
    arguments = {
        **_read(given), **incoming, "p_key": key, "p_value": value, "p_dkey": dkey_NPGK,
        "p_dvalue": dvalue_NPGV, "S": len(key), "before": 0, "chunks": chunks, "rows": ROWS,
        "p_mask": None, "MASK": "none", "CAUSAL": False, "SKIPPED": False,
        "key_b": 0, "key_g": width, "key_s": key.stride(0),
        "value_b": 0, "value_g": value_width, "value_s": value.stride(0),
        **_strides("dkey", dkey_NPGK, "nsg"), **_strides("dvalue", dvalue_NPGV, "nsg"),
    }  # fmt: skip
    _launch(kernels.prefix_attention_bwd_kernel_keys, given, arguments, "S", examples=parts)
    dkey.copy_(dkey_NPGK.sum(0).view_as(dkey))
    dvalue.copy_(dvalue_NPGV.sum(0).view_as(dvalue))


def _read(given: Operands) -> dict[str, Any]:
    """Return what every kernel is told of the operands, but of keys and values."""
    query, gate, mask = _dense(given.query_BHTK), given.gate_BTP, given.mask_BHTS
    kind = "none" if mask is None else "boolean" if mask.dtype == torch.bool else "added"
    if mask is not None and mask.dtype == torch.bool:
        mask = mask.view(torch.uint8)
    learned = given.learned
    return {
        "p_query": query, "p_mask": mask, "p_gate": gate, "p_seed": given.seed,
        "scale": given.scale, "softcap": given.softcap or 1.0, "dropout": given.dropout,
        "H": query.shape[1], "G": given.key_BGSK.shape[1], "T": query.shape[2],
        "K": query.shape[3], "V": given.value_BGSV.shape[3],
        **_strides("query", query, "bht"), **_strides("mask", mask, "bhts"),
        **_strides("gate", gate, "btp"),
        "MASK": kind, "CAUSAL": given.causal, "GATED": gate is not None,
        # A query from which everything is hidden weighs all keys alike, later ones too.
        "SKIPPED": given.causal and (mask is None or learned > 0),
        "CAPPED": given.softcap is not None, "DROPPED": given.seed is not None,
        "PRECISION": "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32",
        "BLOCK_K": _block(query.shape[3]), "BLOCK_V": _block(given.value_BGSV.shape[3]),
    }  # fmt: skip


def _both_kinds_of_keys(given: Operands) -> dict[str, Any]:
    key, value = _dense(given.key_BGSK), _dense(given.value_BGSV)
    prefix_key, prefix_value = _prefix(given)
    return {
        "p_key": key, "p_value": value, "S": key.shape[2],
        **_strides("key", key, "bgs"), **_strides("value", value, "bgs"),
        "p_prefix_key": prefix_key, "p_prefix_value": prefix_value, "P": given.learned,
        "prefix_key_p": prefix_key.stride(0), "prefix_value_p": prefix_value.stride(0),
        "BLOCK_P": _short(given.learned),
    }  # fmt: skip


def _prefix(given: Operands) -> tuple[Tensor, Tensor]:
    if given.prefix_key is None or given.prefix_value is None:
        return given.key_BGSK, given.value_BGSV  # never read: there are no rows of them
    return _dense(given.prefix_key), _dense(given.prefix_value)


def _launch(
    kernel: Any, given: Operands, arguments: dict[str, Any], axis: str, examples: int | None = None
) -> None:
    """Start a kernel with a program for each block along an axis of each head of each example."""
    query = given.query_BHTK
    many = arguments["H" if axis == "T" else "G"] * (len(query) if examples is None else examples)

    def launch(tiles: Tiles) -> None:
        blocks = dict(tiles.blocks)
        if examples is not None:
            blocks["BLOCK_S"] = _short(arguments["S"])
        grid = (many * -(-arguments[axis] // blocks[f"BLOCK_{axis}"]),)
        kernel[grid](**arguments, **blocks, **tiles.options)

    lengths = (_octave(arguments["T"]), _octave(arguments["S"]), _octave(many))
    kinds = (str(query.dtype), arguments["BLOCK_K"], arguments["MASK"], arguments["CAUSAL"])
    cuts = ways(kernel, query.element_size(), max(arguments["BLOCK_K"], arguments["BLOCK_V"]))
    run(kernel.__name__, (*lengths, *kinds), cuts, launch, query)


def _sums(given: Operands, *shape: int) -> Tensor:
    return given.query_BHTK.new_empty(shape, dtype=torch.float32)


def _by_tokens(x_BHTK: Tensor, width: int) -> Tensor:
    """Return memory of an output, in which the heads of a token lie side by side."""
    batch, heads, tokens, _ = x_BHTK.shape
    return x_BHTK.new_empty(batch, tokens, heads, width).transpose(1, 2)


def _dense(tensor: Tensor) -> Tensor:
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _strides(name: str, tensor: Tensor | None, axes: str) -> dict[str, int]:
    return {
        f"{name}_{axis}": 0 if tensor is None else tensor.stride(i) for i, axis in enumerate(axes)
    }


def _block(width: int) -> int:
    return max(16, _octave(width))


def _short(rows: int) -> int:
    return min(64, _block(rows))


def _octave(length: int) -> int:
    return 1 << max(0, length - 1).bit_length()
