"""The sites of one list of blocks, found by what its modules read and give."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from autopeft.architectures.reading import SitePlace, StackPlace
from autopeft.backbone import NormPlace, SiteKind
from autopeft.training.interface import asks_transformers
from autopeft.training.tracing import Call
from autopeft.training.widths import Widths, widths_of

_NAMES = {
    "query": {"q", "query", "q_proj", "query_proj", "q_lin", "q_linear", "to_q", "wq"},
    "key": {"k", "key", "k_proj", "key_proj", "k_lin", "k_linear", "to_k", "wk"},
    "value": {"v", "value", "v_proj", "value_proj", "v_lin", "v_linear", "to_v", "wv"},
    "qkv": {"qkv", "wqkv", "qkv_proj", "query_key_value", "c_attn", "attn_qkv", "in_proj"},
}
_PAIR = 2
_ORDER = ("attention", "cross", "ffn", "final", "embeddings")
_ROLES = {name: role for role, names in _NAMES.items() for name in names}


class UnclearError(Exception):
    """What is not understood of a structure, as people read it."""


@dataclass(slots=True)
class _Attention:
    """The linear layers of one attention module, as calls in a block, by role."""

    parent: str
    parts: dict[str, Call] = field(default_factory=dict)

    @property
    def reader(self) -> Call:
        """What reads the stream of activations."""
        return self.parts["qkv"] if "qkv" in self.parts else self.parts["query"]

    @property
    def crossed(self) -> bool:
        """Whether keys come from elsewhere than queries."""
        return "key" in self.parts and self.parts["key"].reads != self.parts["query"].reads

    @property
    def ends(self) -> int:
        """When the last of its calls that are known has ended."""
        return max(call.order for call in self.parts.values())


class StackFinder:
    """Finds the sites of one list of blocks from the calls in its last block."""

    def __init__(self, model: Any, traced: dict[str, Call], path: str) -> None:
        self._model = model
        self._path = path
        self._traced = traced
        self._blocks = model.get_submodule(path)
        self._prefix = f"{path}.{len(self._blocks) - 1}."
        if len({type(block) for block in self._blocks}) > 1:
            kinds = ", ".join(sorted({type(block).__name__ for block in self._blocks}))
            raise UnclearError(f"the blocks in {path} are of several kinds ({kinds})")
        inner = [call for name, call in traced.items() if name.startswith(self._prefix)]
        self._calls = sorted(inner, key=lambda call: call.order)
        self._linears = [call for call in self._calls if is_linear(call.module)]
        self._given = {call.gives for call in self._calls} | {self._block_reads()}
        self._config: Any = model.config
        self._places: dict[str, tuple[SiteKind, str]] = {}

    def place(self) -> StackPlace:
        """Put the sites of the stack together."""
        self_attention, cross_attention = self._attentions()
        attention = self._model.get_submodule(self_attention.parent)
        self._config = getattr(attention, "config", self._model.config)
        self._add_attention("attention", self_attention)
        if cross_attention:
            self._add_attention("cross", cross_attention)
        first = self._add_ffn([a for a in (self_attention, cross_attention) if a])
        norm = self._add_norms(self_attention, cross_attention, first)
        self._add_ends()
        return StackPlace(
            name=self._name(),
            blocks=self._path,
            norm=norm,
            places=tuple(
                SitePlace(name=name, kind=kind, paths=(path,), first=self._first(kind, path))
                for name, (kind, path) in self._ordered()
            ),
            config=self._part_of_config(),
            heads=self._heads(),
        )

    def _ordered(self) -> list[tuple[str, tuple[SiteKind, str]]]:
        """List the sites as architecture files do: sub-layer by sub-layer."""
        places = self._places.items()
        return sorted(places, key=lambda place: _ORDER.index(place[0].partition(".")[0]))

    def _name(self) -> str:
        return self._path.split(".", maxsplit=1)[0].removesuffix("_model")

    def _block_reads(self) -> int:
        call = self._traced.get(self._prefix.removesuffix("."))
        return call.reads if call else 0

    def _add(self, site: str, kind: SiteKind, path: str) -> None:
        inside = path.startswith(self._prefix)
        rest = path.removeprefix(self._prefix)
        self._places[site] = kind, f"{self._path}.{{block}}.{rest}" if inside else path

    def _attentions(self) -> tuple[_Attention, _Attention | None]:
        """Find self-attention, and cross-attention if there is one."""
        groups: dict[str, _Attention] = {}
        for call in self._linears:
            if role := role_of(call.path):
                parent = call.path.rpartition(".")[0]
                group = groups.setdefault(parent, _Attention(parent))
                group.parts[role] = call
        whole = [g for g in groups.values() if {"query", "key", "value"} <= set(g.parts)]
        whole += [g for g in groups.values() if set(g.parts) == {"qkv"}]
        own, crossed = ([g for g in whole if g.crossed is c] for c in (False, True))
        if len(own) != 1 or len(crossed) > 1:
            kind = type(self._blocks[0]).__name__
            raise UnclearError(
                f"the blocks in {self._path} ({kind}) have {len(own)} layers of self-attention "
                f"and {len(crossed)} of cross-attention, found by linear layers for query, key "
                "and value"
            )
        return own[0], crossed[0] if crossed else None

    def _add_attention(self, place: str, attention: _Attention) -> None:
        later = [c for c in self._linears if c.order > attention.ends and not _is_position(c)]
        if not later:
            raise UnclearError(f"nothing follows {attention.parent} that closes attention")
        for role, call in attention.parts.items():
            self._add(f"{place}.{role}", "linear", call.path)
        _check_attention(attention.parts, later[0])
        attention.parts["output"] = later[0]
        self._add(f"{place}.output", "linear", later[0].path)
        if asks_transformers(self._model.get_submodule(attention.parent)):
            self._add(place, "attention", attention.parent)

    def _add_ffn(self, attentions: list[_Attention]) -> list[Call]:
        """Find the feed-forward layer among the layers left over; return its own."""
        taken = {call.path for a in attentions for call in a.parts.values()}
        left = [c for c in self._linears if c.path not in taken and not _is_position(c)]
        if len(left) < _PAIR or any(call.reads != left[0].reads for call in left[:-1]):
            return []
        *first, last = left
        for site, call in self._beginning(first, _widths(last).inputs).items():
            self._add(site, "linear", call.path)
        if not {"ffn.input", "ffn.fused"} & set(self._places):
            return []
        self._add("ffn.output", "linear", last.path)
        return left

    def _beginning(self, first: list[Call], middle: int) -> dict[str, Call]:
        """Name the layers that read the stream; ``middle`` is what the last layer reads."""
        outputs = [_widths(call).outputs for call in first]
        gates = [call for call in first if self._is_activated(call)]
        if outputs == [middle]:
            return {"ffn.input": first[0]}
        if outputs == [2 * middle]:
            return {"ffn.fused": first[0]}
        if outputs == [middle, middle] and len(gates) == 1:
            return {"ffn.gate": gates[0], "ffn.input": first[first[0] is gates[0]]}
        return {}

    def _is_activated(self, call: Call) -> bool:
        """Tell whether what a layer gives goes through an activation as it is."""
        return any(c.reads == call.gives for c in self._calls if c.path != call.path)

    def _add_norms(self, own: _Attention, cross: _Attention | None, ffn: list[Call]) -> NormPlace:
        """Find the norm of every sub-layer: whose output it reads, or which follows its sum."""
        sub_layers = {"attention": (own.reader, own.parts["output"])}
        if cross:
            sub_layers["cross"] = cross.reader, cross.parts["output"]
        if ffn:
            sub_layers["ffn"] = ffn[0], ffn[-1]
        opening = {place: self._opening(first) for place, (first, _) in sub_layers.items()}
        opens = opening["attention"] or not self._closing(own.parts["output"])
        norm: NormPlace = "pre" if opens else "post"
        used: set[str] = set()
        for place, (_, last) in sub_layers.items():
            found = opening[place] if norm == "pre" else self._closing(last)
            if found and found.path not in used:
                used.add(found.path)
                self._add(f"{place}.norm", "norm", found.path)
        return norm

    def _opening(self, first: Call) -> Call | None:
        return next((c for c in self._norms() if c.gives == first.reads), None)

    def _closing(self, last: Call) -> Call | None:
        """The first norm after a sub-layer, if it reads a sum and not what a module gives."""
        later = (call for call in self._norms() if call.order > last.order)
        found = next(later, None)
        return None if found is None or found.reads in self._given else found

    def _norms(self) -> Iterator[Call]:
        return (call for call in self._calls if _is_norm(call.module))

    def _add_ends(self) -> None:
        """Find the norm that reads what the last block gives, and what feeds the first."""
        outside = [c for c in self._traced.values() if not c.path.startswith(f"{self._path}.")]
        last = self._traced[self._prefix.removesuffix(".")]
        for call in outside:
            if _is_norm(call.module) and call.reads == last.gives and call.order > last.order:
                self._add("final.norm", "norm", call.path)
        if embeddings := self._embeddings(outside):
            self._add("embeddings", "embeddings", embeddings)

    def _embeddings(self, outside: list[Call]) -> str | None:
        """Return the widest module without blocks around what looks up tokens, or cuts an image."""
        tokens = getattr(self._config, "vocab_size", None)
        found = [call for call in outside if _looks_up(call.module, tokens)]
        # Towers and encoder-decoders have such a module each, beside their blocks.
        holder = self._path.split(".", maxsplit=1)[0] + "."
        own = [call for call in found if call.path.startswith(holder)] or found
        return self._without_blocks(own[0].path) if own else None

    def _without_blocks(self, path: str) -> str:
        while parent := path.rpartition(".")[0]:
            around = self._model.get_submodule(parent).modules()
            if any(isinstance(module, nn.ModuleList) for module in around):
                break
            path = parent
        return path

    def _first(self, kind: SiteKind, path: str) -> int:
        """The first block that has a site as the last has it."""
        if "{block}" not in path or kind == "attention":
            return 0
        for number in range(len(self._blocks)):
            module = self._model.get_submodule(path.format(block=number))
            if widths_of(module, kind) is not None:
                return number
        return 0

    def _part_of_config(self) -> str:
        """Name the part of the configuration that describes the stack, if it is not the whole."""
        parts = getattr(self._model.config, "sub_configs", ())
        return next((p for p in parts if getattr(self._model.config, p) is self._config), "")

    def _heads(self) -> str:
        special = f"{self._name()}_attention_heads"
        return special if hasattr(self._config, special) else "num_attention_heads"


def _check_attention(parts: dict[str, Call], output: Call) -> None:
    """Refuse what attention cannot be: it ends as wide as it begins, keys as wide as values."""
    first = parts.get("qkv") or parts["query"]
    one, other = _widths(first), _widths(output)
    closes = one.inputs == other.outputs
    if closes and ("qkv" not in parts or 0 < one.outputs - other.inputs <= 2 * other.inputs):
        return
    raise UnclearError(
        f"{first.path} ({one}) and {output.path} ({other}) do not fit together as attention"
    )


def _is_position(call: Call) -> bool:
    """Tell whether a layer reads positions: DeBERTa's do, and stand beside queries and keys."""
    return call.path.rpartition(".")[2].startswith("pos_")


def _is_norm(module: nn.Module) -> bool:
    return not list(module.children()) and "norm" in type(module).__name__.lower()


def role_of(path: str) -> str | None:
    """Tell by its name what a layer is of attention: query, key, value or all of them."""
    return _ROLES.get(path.rpartition(".")[2].lower())


def is_linear(module: nn.Module) -> bool:
    """Tell whether a module is a layer that methods can sit at."""
    return isinstance(module, (nn.Linear, Conv1D))


def _looks_up(module: nn.Module, tokens: int | None) -> bool:
    """Tell whether a module turns tokens, or an image where there are none, into vectors."""
    if isinstance(module, nn.Embedding):
        return module.num_embeddings == tokens
    return tokens is None and isinstance(module, nn.Conv2d)


def _widths(call: Call) -> Widths:
    widths = widths_of(call.module, "linear")
    if widths is None:
        raise TypeError(f"{call.path} is no linear layer")
    return widths
