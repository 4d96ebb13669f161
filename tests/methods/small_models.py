"""Two tiny transformers in memory: one of `nn.Linear`, one of `Conv1D` with fused matrices."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model

from autopeft.backbone import Backbone, Site, Stack
from autopeft.methods.inject import Injection, injected
from autopeft.search_spaces.catalog import METHODS, slots_of
from autopeft.search_spaces.configuration import Configuration

WIDTH, WIDE, BLOCKS, HEADS = 32, 48, 2, 4
SCALES = {name: method.scale for name, method in METHODS.items() if method.scale is not None}
KINDS = ("bert", "gpt2")
FUSED = ("attention.query", "attention.key", "attention.value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Small:
    """A model and its shape."""

    model: Any
    backbone: Backbone

    def hidden(self) -> torch.Tensor:
        """Return the last hidden states of three sequences."""
        ids = torch.arange(21).reshape(3, 7) % 20
        with torch.no_grad():
            return self.model(input_ids=ids).last_hidden_state

    def loss(self) -> torch.Tensor:
        """Return a fixed weighted sum of the last hidden states, with its gradient."""
        out = self.model(input_ids=torch.arange(21).reshape(3, 7) % 20).last_hidden_state
        return (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(2))).sum()

    def copy(self) -> "Small":
        """Return the same with a model of its own."""
        return replace(self, model=deepcopy(self.model))

    def path(self, site: str, block: int) -> str:
        """Return the path of the module at a site."""
        return self.backbone.module_path(self.backbone.site(site), block)


def small(kind: str) -> Small:
    """Build a model whose weights are all random, norms and biases too."""
    model, sites = _bert() if kind == "bert" else _gpt2()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    backbone = Backbone(
        name=kind,
        architecture=kind,
        stacks=(
            Stack(name="", first=0, blocks=BLOCKS, width=WIDTH, heads=HEADS,
                  norm="post" if kind == "bert" else "pre"),
        ),
        parameters=sum(p.numel() for p in model.parameters()),
        sites=sites,
        digest="",
    )  # fmt: skip
    return Small(model=model.requires_grad_(requires_grad=False).eval(), backbone=backbone)


def _bert() -> tuple[Any, tuple[Site, ...]]:
    config = BertConfig(
        vocab_size=20,
        hidden_size=WIDTH,
        num_hidden_layers=BLOCKS,
        num_attention_heads=HEADS,
        intermediate_size=WIDE,
        max_position_embeddings=16,
    )
    paths = {
        "attention.query": "attention.self.query",
        "attention.key": "attention.self.key",
        "attention.value": "attention.self.value",
        "attention.output": "attention.output.dense",
        "ffn.input": "intermediate.dense",
        "ffn.output": "output.dense",
    }
    return BertModel(config), tuple(
        _site(place, f"encoder.layer.{{block}}.{path}") for place, path in paths.items()
    )


def _gpt2() -> tuple[Any, tuple[Site, ...]]:
    config = GPT2Config(
        vocab_size=20,
        n_embd=WIDTH,
        n_layer=BLOCKS,
        n_head=HEADS,
        n_inner=WIDE,
        n_positions=16,
    )
    paths = {
        "attention.qkv": "attn.c_attn",
        "attention.output": "attn.c_proj",
        "ffn.input": "mlp.c_fc",
        "ffn.output": "mlp.c_proj",
    }
    sites = [_site(place, f"h.{{block}}.{path}") for place, path in paths.items()]
    sites += [
        _site(place, "h.{block}.attn.c_attn", start=number * WIDTH)
        for number, place in enumerate(FUSED)
    ]
    return GPT2Model(config), tuple(sites)


def _site(place: str, path: str, start: int | None = None) -> Site:
    outputs = {"ffn.input": WIDE, "attention.qkv": 3 * WIDTH}.get(place, WIDTH)
    inputs = WIDE if place == "ffn.output" else WIDTH
    return Site(
        place=place, kind="linear", path=path, blocks=(0, BLOCKS),
        inputs=inputs, outputs=outputs, bias=True, start=start,
    )  # fmt: skip


@contextmanager
def inside(
    small: Small, sizes: Mapping[str, int], *, seed: int = 0, **options: Any
) -> Iterator[Injection]:
    """Put slots by name into every block."""
    slots = slots_of(small.backbone)
    rows = (tuple(sizes.get(slot.name, 0) for slot in slots),) * BLOCKS
    generator = torch.Generator().manual_seed(seed)
    scales = options.pop("scales", SCALES)
    with injected(
        small.model, small.backbone, slots, Configuration(rows), scales, generator, **options
    ) as injection:
        yield injection


def shake(injection: Injection, spread: float = 0.1) -> dict[str, torch.Tensor]:
    """Move every trained value off its start, and return copies."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in injection.state().values():
            value.add_(spread * torch.randn(value.shape, generator=generator))
    return {name: value.clone() for name, value in injection.state().items()}
