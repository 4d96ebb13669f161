"""A whole backbone with methods inside, written out as the papers write it.

It shares no code with `autopeft.methods` or with transformers' blocks, only the embeddings.

Axes: B batch, T tokens, S keys, P prefix, D width, H heads, K width of a head.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm

from tests.models import Tiny

State = Mapping[str, Tensor]


class Block:
    """One block: its frozen modules by site, and the trained values of each slot in it."""

    def __init__(self, tiny: Tiny, number: int, state: State, scales: Mapping[str, float]) -> None:
        self.sites = {
            site.name: tiny.model.get_submodule(tiny.backbone.module_path(site, number))
            for site in tiny.backbone.sites
            if site.path
        }
        self.trained: dict[str, dict[str, Tensor]] = {}
        for name, value in state.items():
            block, slot, parameter = name.split("/")
            if int(block) == number:
                self.trained.setdefault(slot, {})[parameter] = value
        self.scales = scales
        self.heads = tiny.model.config.num_attention_heads

    def __call__(self, x_BTD: Tensor, seen_BS: Tensor) -> Tensor:
        attended_BTD = self.linear("attention.output", self.attention(x_BTD, seen_BS))
        attended_BTD = attended_BTD + self.adapter("serial_adapter@attention.output", attended_BTD)
        a_BTD = self.norm("attention.norm", attended_BTD + x_BTD)
        f_BTD = self.linear("ffn.output", gelu(self.linear("ffn.input", a_BTD)))
        f_BTD = f_BTD + self.adapter("serial_adapter@ffn.output", f_BTD)
        f_BTD = f_BTD + self.adapter("parallel_adapter@ffn", a_BTD)
        summed_BTD = f_BTD + a_BTD
        normed_BTD = self.norm("ffn.norm", summed_BTD)
        if "serial_adapter@ffn.norm" not in self.trained:
            return normed_BTD
        added_BTD = self.adapter("serial_adapter@ffn.norm", normed_BTD)
        return self.norm("ffn.norm", summed_BTD + added_BTD)

    def linear(self, site: str, x: Tensor) -> Tensor:
        y = x @ self.sites[site].weight.T + self.bias(site)
        if lora := self.trained.get(f"lora@{site}"):
            y = y + self.scales["lora"] * (x @ lora["down"].T) @ lora["up"]
        return y

    def bias(self, site: str) -> Tensor:
        biases = self.trained.get("bitfit@block", {})
        return biases.get(site, self.sites[site].bias)

    def norm(self, site: str, x: Tensor) -> Tensor:
        module: Any = self.sites[site]
        return layer_norm(x, x.shape[-1:], module.weight, self.bias(site), module.eps)

    def adapter(self, slot: str, x: Tensor) -> Tensor:
        if slot not in self.trained:
            return torch.zeros(())
        a = self.trained[slot]
        hidden = torch.clamp(x @ a["down"].T + a["down_bias"], min=0)
        return self.scales[slot.split("@", maxsplit=1)[0]] * (hidden @ a["up"] + a["up_bias"])

    def attention(self, x_BTD: Tensor, seen_BS: Tensor) -> Tensor:
        query, key, value = (
            self.linear(f"attention.{n}", x_BTD) for n in ("query", "key", "value")
        )
        if prefix := self.trained.get("prefix@attention"):
            batch, length = len(x_BTD), len(prefix["keys"])
            key = torch.cat([prefix["keys"].expand(batch, -1, -1), key], 1)
            value = torch.cat([prefix["values"].expand(batch, -1, -1), value], 1)
            seen_BS = torch.cat([torch.ones(batch, length, dtype=torch.bool), seen_BS], 1)
        width = query.shape[-1] // self.heads
        outputs = []
        for head in range(self.heads):
            part = slice(head * width, (head + 1) * width)
            scores_BTS = query[..., part] @ key[..., part].transpose(1, 2) / width**0.5
            scores_BTS = scores_BTS.masked_fill(~seen_BS[:, None], -torch.inf)
            outputs.append(torch.softmax(scores_BTS, -1) @ value[..., part])
        return torch.cat(outputs, -1)


def forward(
    tiny: Tiny, inputs: dict[str, Tensor], state: State, scales: Mapping[str, float]
) -> Tensor:
    """Return the hidden states after the last block, shape ``(B, T, D)``."""
    others = {name: value for name, value in inputs.items() if name != "attention_mask"}
    hidden_BTD: Tensor = tiny.model.embeddings(**others)
    if tiny.backbone.architecture == "electra":
        hidden_BTD = tiny.model.embeddings_project(hidden_BTD)
    for number in range(tiny.backbone.blocks):
        hidden_BTD = Block(tiny, number, state, scales)(hidden_BTD, inputs["attention_mask"].bool())
    return hidden_BTD
