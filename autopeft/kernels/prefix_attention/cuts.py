"""How the kernels of prefix attention are cut into tiles, and what of them is compiled in advance.

Axes as in ``kernels.py``.
"""

from collections.abc import Iterator
from typing import Any

from autopeft.kernels.prefix_attention import kernels
from autopeft.kernels.tuning import Tiles
from autopeft.kernels.variants import Variant

_FORWARD = kernels.prefix_attention_fwd_kernel
_QUERIES = kernels.prefix_attention_bwd_kernel_queries
_KEYS = kernels.prefix_attention_bwd_kernel_keys
_DELTA = kernels.prefix_attention_bwd_kernel_delta

# By kernel, bytes of a number and padded width of a head, at most: queries, keys, warps, stages.
# Chosen among what `autopeft.kernels.ahead` finds without spills. Products in single precision have
# no tensor cores, are unrolled, and need small tiles.
_Cut = tuple[int, int, int, int]
_CUTS: dict[tuple[Any, int, int], tuple[_Cut, ...]] = {
    (_FORWARD, 2, 64): ((64, 32, 4, 2), (64, 64, 8, 2)),
    (_QUERIES, 2, 64): ((64, 32, 4, 2), (64, 64, 8, 2)),
    (_KEYS, 2, 64): ((64, 32, 4, 1), (64, 32, 8, 2)),
    (_FORWARD, 2, 128): ((64, 32, 8, 2), (32, 32, 4, 2)),
    (_QUERIES, 2, 128): ((64, 32, 8, 2), (32, 32, 4, 2)),
    (_KEYS, 2, 128): ((32, 32, 4, 1), (32, 32, 4, 2)),
    (_FORWARD, 2, 256): ((32, 16, 4, 1), (16, 16, 4, 1)),
    (_QUERIES, 2, 256): ((32, 16, 4, 1), (16, 16, 4, 1)),
    (_KEYS, 2, 256): ((32, 16, 4, 1), (16, 16, 4, 1)),
    (_FORWARD, 4, 64): ((32, 32, 4, 2),),
    (_QUERIES, 4, 64): ((32, 32, 4, 2),),
    (_KEYS, 4, 64): ((16, 16, 4, 1),),
    (_FORWARD, 4, 128): ((16, 32, 8, 1),),
    (_QUERIES, 4, 128): ((16, 16, 4, 1),),
    (_KEYS, 4, 128): ((16, 16, 8, 1),),
    (_FORWARD, 4, 256): ((16, 16, 8, 1),),
    (_QUERIES, 4, 256): ((16, 16, 4, 1),),
    (_KEYS, 4, 256): ((16, 16, 8, 1),),
}


def ways(kernel: Any, size: int, width: int) -> tuple[Tiles, ...]:
    """Return how a kernel may be cut; the first way is taken where none can be tried.

    ``size`` are the bytes of a number, ``width`` is the padded width of a head.
    """
    return tuple(_tiles(cut) for cut in _CUTS[kernel, size, max(64, width)])


def _tiles(cut: _Cut) -> Tiles:
    queries, keys, warps, stages = cut
    return Tiles(blocks={"BLOCK_T": queries, "BLOCK_S": keys}, warps=warps, stages=stages)


_TYPES = {2: "bf16", 4: "fp32"}
_PLAIN = {
    "MASK": "none", "CAUSAL": False, "SKIPPED": False, "GATED": False, "CAPPED": False,
    "DROPPED": False, "DMASK": False, "PRECISION": "ieee", "BLOCK_P": 16, "mask_s": 1, "gate_p": 1,
}  # fmt: skip
_KINDS: dict[str, dict[str, Any]] = {
    "padded": {"MASK": "boolean"},
    "causal": {"CAUSAL": True, "SKIPPED": True},
    "all": {
        "MASK": "added", "CAUSAL": True, "SKIPPED": True, "GATED": True, "CAPPED": True,
        "DROPPED": True, "DMASK": True,
    },
}  # fmt: skip
# Pointers that are None unless a switch is on.
_OPTIONAL = {
    "p_mask": "MASK", "p_gate": "GATED", "p_seed": "DROPPED", "p_dmask": "DMASK",
    "p_dgate": "GATED",
}  # fmt: skip
_SINGLE = {"p_peak", "p_sum", "p_delta", "p_dgate"}
_REAL = {"scale", "softcap", "dropout"}


def _variants() -> Iterator[Variant]:
    for (kernel, size, width), cuts in _CUTS.items():
        for cut in cuts:
            yield variant(kernel, "padded", size, width, cut)
        if (size, width) == (2, 64):
            yield variant(kernel, "causal", size, width, cuts[0])
            yield variant(kernel, "all", size, width, cuts[0])
    yield variant(_DELTA, "padded", 2, 64, (64, 64, 4, 2))


def variant(kernel: Any, kind: str, size: int, width: int, cut: _Cut) -> Variant:
    """Return a kernel with the types and constants of one use of it."""
    names: list[str] = kernel.arg_names
    settings = _PLAIN | {"BLOCK_K": width, "BLOCK_V": width} | _KINDS[kind]
    absent = {
        name: None for name, switch in _OPTIONAL.items() if settings[switch] in {"none", False}
    }
    constants = {name: value for name, value in (settings | absent).items() if name in names}
    tiles = _tiles(cut)
    blocks = {name: block for name, block in tiles.blocks.items() if name in names}
    said = {*constants, *blocks}
    return Variant(
        name=" ".join([
            kernel.__name__.removeprefix("prefix_attention_"), _TYPES[size], str(width), kind,
            "x".join(str(block) for block in blocks.values()),
        ]),
        kernel=kernel,
        types={name: _type(name, size, kind) for name in names if name not in said},
        constants=constants,
        tiles=Tiles(blocks=blocks, warps=tiles.warps, stages=tiles.stages),
    )  # fmt: skip


def _type(name: str, size: int, kind: str) -> str:
    if name in _REAL:
        return "fp32"
    if not name.startswith("p_"):
        return "i32"
    if name == "p_seed":
        return "*i64"
    if name == "p_mask" and kind == "padded":
        return "*u8"
    return "*fp32" if name in _SINGLE else f"*{_TYPES[size]}"


VARIANTS = tuple(_variants())
