"""Gates between methods: how much of each is taken (UniPELT; Mao et al. 2022, arXiv 2110.07577).

    G(x) = mean over tokens t of sigmoid(w · x_t + b)        one number in (0, 1) for each input

    LoRA      y = x Wᵀ + b + G(x) · s · (x Dᵀ) U             x: what the linear layer reads
    adapter   f' = f + G(f) · A(f)                            f: what the adapter reads
    prefix    Attn(Q, [G(x) P_K; K], [G(x) P_V; V])           x: what the queries are made of

A gate weighs what the method beside it adds at the same site, and is nothing alone. In the paper
the gate of LoRA takes the place of alpha / r: set LoRA's scale to 1 for that. In a stack in which a
token must not see later ones, its mean goes over the tokens up to it. Padding does not count,
unless the recipe's ``gate_mean`` is ``all``, as in the paper's code.

Not a change at initialisation where what it weighs adds zero: w is drawn from N(0, 0.02) and b is
zero, so that G begins close to 0.5. Count: the width of what it reads + 1. Cannot be merged: the
factor differs from one input to the next.

Axes: B batch, T tokens, D width of what is read, P learned positions.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from autopeft.methods.attending import Extra
from autopeft.methods.lora import LoraLinear
from autopeft.methods.places import Attached, Block, Factor, Making, Undo
from autopeft.methods.precision import single
from autopeft.methods.serial_adapter import AdapterAfter, AdapterAtNorm

_SPREAD = 0.02
_WEIGHED = ("lora", "serial_adapter", "prefix", "prefix_mlp")
_CHILD = "weighed_by"
_ADDS = (LoraLinear, AdapterAfter, AdapterAtNorm)


class Gate(nn.Module):
    """One number in (0, 1) for each sequence, or, looking back only, for each of its tokens."""

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, generator=generator) * _SPREAD)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x_BTD: Tensor, mask_BT: Tensor | None, *, causal: bool) -> Tensor:
        """Return shape ``(B, 1, 1)``, or ``(B, T, 1)`` where ``causal``; None counts all tokens."""
        open_BT = linear(single(x_BTD), self.weight[None], self.bias)[..., 0].float().sigmoid()
        seen_BT = torch.ones_like(open_BT) if mask_BT is None else mask_BT.to(open_BT.dtype)
        if causal:
            total, count = (open_BT * seen_BT).cumsum(1), seen_BT.cumsum(1)
        else:
            total, count = (open_BT * seen_BT).sum(1, keepdim=True), seen_BT.sum(1, keepdim=True)
        return (total / count.clamp(min=1))[..., None]


class Call:
    """What the backbone is given in the call that is running: its batch size and its masks."""

    def __init__(self) -> None:
        self.batch = 1
        self.masks: dict[str, Tensor] = {}

    def __call__(self, _model: nn.Module, args: tuple[Any, ...], given: dict[str, Any]) -> None:
        """Remember them; a forward pre-hook of the backbone."""
        tensors = {name: value for name, value in given.items() if isinstance(value, Tensor)}
        self.batch = len(next(iter([*args, *tensors.values()]), ()))
        self.masks = {name: value for name, value in tensors.items() if value.dim() == 2}


def attach(block: Block, site: str, making: Making) -> Attached:
    """Weigh what a method that is in the block already adds at a site."""
    weighed = _weighed(block, site)
    call, forget = _call(block, making.everywhere)
    place = block.sites[site]
    width = (block.beside(site, f"{place.place}.query") or place).inputs
    if place.place.endswith(".output"):
        width = place.outputs
    gate = Gate(width, making.generator)
    weighed.add_module(_CHILD, gate)
    factor = _factor(block, site, gate, call, making.everywhere.get("gate_mean", "mask"))
    hooks = _on_prefix if place.kind == "attention" else _on_sum
    unhook = hooks(block, site, weighed, factor)

    def undo() -> None:
        unhook()
        delattr(weighed, _CHILD)
        forget()

    return Attached(parameters=dict(gate.named_parameters()), undo=undo)


def _factor(block: Block, site: str, gate: Gate, call: Call, mean: str) -> Factor:
    """Return what makes of a layer's input the factor on its output."""
    name, causal = _mask_of(block, site), _looks_back(block, site)

    def factor(x: Tensor) -> Tensor:
        # OPT makes one axis of batch and tokens around its feed-forward layer.
        x_BTD = x if x.dim() == 3 else x.view(call.batch, -1, x.shape[-1])
        mask_BT = call.masks.get(name) if mean == "mask" else None
        if mask_BT is not None and mask_BT.shape != x_BTD.shape[:2]:
            mask_BT = None  # a text that is being generated: its tokens come one by one
        found: Tensor = gate(x_BTD, mask_BT, causal=causal)
        return found[..., 0] if x is x_BTD else found.expand(-1, x_BTD.shape[1], -1).reshape(-1)

    return factor


def _on_sum(block: Block, site: str, weighed: nn.Module, factor: Factor) -> Undo:
    """Weigh what a module returns, where it is added to the stream."""
    at_site = block.model.get_submodule(block.backbone.module_path(block.sites[site], block.number))
    for module in at_site.modules():
        if isinstance(module, _ADDS) and weighed in module.children():
            return _gated(module, factor)

    def scale(_module: nn.Module, args: tuple[Tensor], added: Tensor) -> Tensor:
        return added * factor(args[0])[..., None].to(added.dtype)

    return weighed.register_forward_hook(scale).remove


def _gated(adding: LoraLinear | AdapterAfter | AdapterAtNorm, factor: Factor) -> Undo:
    adding.gate = factor

    def undo() -> None:
        adding.gate = None

    return undo


def _on_prefix(block: Block, site: str, weighed: nn.Module, factor: Factor) -> Undo:
    """Weigh the keys and values of a prefix by what the queries are made of."""
    query = block.beside(site, f"{block.sites[site].place}.query")
    if query is None:
        raise AssertionError(f"the catalog offers no gate at {site} without queries")
    read: list[Tensor] = []

    def read_input(_module: nn.Module, args: tuple[Tensor]) -> None:
        read[:] = [args[0]]

    def scale(_module: nn.Module, _args: tuple[()], extra: Extra) -> Extra:
        x_BTD = read.pop()
        gate_BTP = factor(x_BTD)[..., None].expand(-1, x_BTD.shape[1], len(extra.keys))
        return replace(extra, gate=gate_BTP if extra.gate is None else extra.gate * gate_BTP)

    path = block.backbone.module_path(query, block.number)
    reading = block.model.get_submodule(path).register_forward_pre_hook(read_input)
    scaling = weighed.register_forward_hook(scale)

    def undo() -> None:
        scaling.remove()
        reading.remove()

    return undo


def _weighed(block: Block, site: str) -> nn.Module:
    """Find the module that gives what a method adds at a site: it holds all that is trained there.

    Of a linear layer or a norm it is the smallest such module, of attention the child.
    """
    beside = [block.attached[name] for m in _WEIGHED if (name := f"{m}@{site}") in block.attached]
    trained = [*beside[0].parameters.values(), *beside[0].scaffold.values()]
    at_site = block.model.get_submodule(block.backbone.module_path(block.sites[site], block.number))
    ids = set(map(id, trained))
    holding = [m for m in at_site.modules() if ids <= set(map(id, m.parameters()))]
    return holding[1 if block.sites[site].kind == "attention" else -1]


def _call(block: Block, everywhere: dict[str, Any]) -> tuple[Call, Undo]:
    """Return what the gates of a configuration share, and what the first of them undoes."""
    if "call" in everywhere:
        return everywhere["call"], lambda: None
    call = everywhere["call"] = Call()
    # CLIP's text tower may be called without the model around it.
    called = [block.model, dict(block.model.named_children()).get("text_model")]
    hooks = [m.register_forward_pre_hook(call, with_kwargs=True) for m in called if m is not None]

    def undo() -> None:
        for hook in hooks:
            hook.remove()

    return call, undo


def _mask_of(block: Block, site: str) -> str:
    """Name the mask of the tokens that a site reads, as it is given to the backbone."""
    place = block.sites[site]
    if place.stack == "vision":
        return ""
    reads_encoder = place.place in {"cross.key", "cross.value"}
    is_decoder = block.beside(site, "cross.key") is not None
    return "decoder_attention_mask" if is_decoder and not reads_encoder else "attention_mask"


def _looks_back(block: Block, site: str) -> bool:
    """Tell whether the tokens that a site reads must not see later ones."""
    attention = block.beside(site, "attention")
    if attention is None or block.sites[site].place in {"cross.key", "cross.value"}:
        return False
    return bool(getattr(block.original(attention.name), "is_causal", False))
