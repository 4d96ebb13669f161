"""Learned prompts and prefixes as adapters of the `peft` library, where it has them the same.

The library puts prompts in front of the words as `prompt_tuning` does, and gives back scores for
them too. A prefix it feeds as past keys and values, which moves the text's positions on by its
length P. Where positions are rotations and nothing else, keys that are rotated by P make up for it:
(R(i + P) q) · (R(P) k) = (R(i) q) · k. Elsewhere the two are not equal.

Axes: P prompts, D width of a word, I width of all keys, O width of all values.
"""

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from autopeft.plan import Plan
from autopeft.production.fitting import transformer_of
from autopeft.production.terms import Adapter, Cell, Kind

KINDS: Mapping[str, Kind] = {
    "prompt_tuning": "PROMPT_TUNING", "p_tuning": "PROMPT_TUNING",
    "prefix": "PREFIX_TUNING", "prefix_mlp": "PREFIX_TUNING",
    "llama_adapter": "ADAPTION_PROMPT",
}  # fmt: skip
"""The kind of adapter that holds a method's cells, once they are trained."""
_ROTARY = ("llama", "mistral", "qwen2", "qwen3", "gemma", "phi", "phi3")
_GATED = ("llama", "mistral")
_ADAPTER = "default"


def why_not(plan: Plan, cell: Cell) -> str:
    """Say why the library cannot have a prompt or prefix as the plan does; empty if it can."""
    kind, task = KINDS[cell.slot.method], plan.task.kind
    if kind == "PROMPT_TUNING":
        among_words = task in {"causal_lm", "seq2seq"}
        left = "peft leaves the prompts in front of what a head reads, so that its scores differ"
        return "" if among_words else left
    if task != "causal_lm":
        return f"peft has it in language models that continue a text, and this is {task}"
    return _prefix(plan) if kind == "PREFIX_TUNING" else _gated(plan)


def _prefix(plan: Plan) -> str:
    model = plan.backbone.architecture
    if model in _ROTARY:
        return ""
    return (
        "peft moves the positions of a text on by the prefix, which can be made up for where "
        f"positions are rotations ({', '.join(_ROTARY)}), and this is {model}"
    )


def _gated(plan: Plan) -> str:
    model = plan.backbone.architecture
    if model not in _GATED:
        return f"peft has it the same in {' and '.join(_GATED)} alone, and this is {model}"
    query = plan.backbone.site("attention.query")
    wide = query.outputs == query.inputs
    return "" if wide else "peft takes the width of the queries for that of the model"


def uneven(plan: Plan, cells: list[Cell], kind: Kind) -> Iterator[str]:
    """Say which blocks stand in the way of one length for all that the library has."""
    lengths = {cell.size for cell in cells}
    for cell in cells:
        if cell.size != max(lengths):
            yield f"{cell}: it is {cell.size} long, and peft has one length, here {max(lengths)}"
    if len({cell.slot.method for cell in cells}) > 1:
        yield f"{cells[-1]}: peft has one of these in a model, here {cells[0].slot.method}"
    blocks, there = range(plan.backbone.blocks), {cell.block for cell in cells}
    if kind == "PREFIX_TUNING":
        lacking = [block for block in blocks if block not in there]
        every = "every block"
    elif kind == "ADAPTION_PROMPT":
        lacking = [block for block in blocks if block > min(there) and block not in there]
        every = "every block from the lowest one on"
    else:
        return
    for block in lacking:
        yield f"block {block}: it has no {cells[0].slot.method}, and peft gives one to {every}"


def config_of(adapter: Adapter, told: Mapping[str, Any]) -> Any:
    """Describe an adapter of prompts as `peft` does."""
    from peft import AdaptionPromptConfig, PrefixTuningConfig, PromptTuningConfig

    first = next(iter(adapter.learned.values()))
    if adapter.kind == "PREFIX_TUNING":
        return PrefixTuningConfig(num_virtual_tokens=len(first["keys"]), **told)
    length = len(first["vectors"])
    if adapter.kind == "PROMPT_TUNING":
        return PromptTuningConfig(num_virtual_tokens=length, num_transformer_submodules=1, **told)
    return AdaptionPromptConfig(
        adapter_len=length, adapter_layers=len(adapter.learned), target_modules="self_attn", **told
    )


def fill(adapter: Adapter, tuned: Any) -> None:
    """Put trained values into a fresh adapter of the library."""
    with torch.no_grad():
        if adapter.kind == "ADAPTION_PROMPT":
            layers = tuned.get_base_model().base_model.layers
            for block, values in adapter.learned.items():
                attention = layers[block].self_attn
                attention.adaption_prompt.copy_(values["vectors"][None])
                attention.adaption_gate.copy_(values["gate"])
            return
        (learned,) = (
            [_rows(adapter, tuned.get_base_model().base_model)]
            if adapter.kind == "PREFIX_TUNING"
            else [values["vectors"] for values in adapter.learned.values()]
        )
        tuned.prompt_encoder[_ADAPTER].embedding.weight.copy_(learned)


def _rows(adapter: Adapter, base: Any) -> Tensor:
    """Put keys and values of all blocks beside one another, the keys rotated."""
    parts = []
    for block in sorted(adapter.learned):
        values = adapter.learned[block]
        parts += [_rotated(values["keys"], base), values["values"]]
    return torch.cat(parts, dim=1)


def _rotated(keys_PI: Tensor, base: Any) -> Tensor:
    """Rotate keys to the position behind them all, as the model rotates its own."""
    positions_1P = torch.full((1, len(keys_PI)), len(keys_PI))
    heads = base.config.num_key_value_heads
    keys_1HPK = keys_PI.view(len(keys_PI), heads, -1).transpose(0, 1)[None]
    cos, sin = base.rotary_emb(keys_1HPK, positions_1P)
    turned = int(cos.shape[-1])  # some models leave the last numbers of a head as they are
    rotate = sys.modules[type(base).__module__].apply_rotary_pos_emb
    first, _ = rotate(keys_1HPK[..., :turned], keys_1HPK[..., :turned], cos, sin)
    whole_1HPK = torch.cat([first, keys_1HPK[..., turned:]], dim=-1)
    return whole_1HPK[0].transpose(0, 1).flatten(1)


class Behind(nn.Module):
    """What a model with the library's prompts gives for the text alone."""

    def __init__(self, tuned: Any, prompts: int) -> None:
        super().__init__()
        self.tuned, self.config, self._prompts = tuned, tuned.config, prompts

    def forward(self, **inputs: Tensor) -> Any:
        """Return what the model does, with the scores of its prompts taken away."""
        out = self.tuned(**inputs)
        out["logits"] = out.logits[:, self._prompts :]
        return out


def shown(tuned: Any) -> Any:
    """Return a model of the library that gives one row of scores for each token of a text."""
    from peft import PeftModel

    if not isinstance(tuned, PeftModel):
        return tuned
    config: Any = tuned.active_peft_config
    among_words = config.peft_type == "PROMPT_TUNING" and config.task_type == "CAUSAL_LM"
    return Behind(tuned, config.num_virtual_tokens) if among_words else tuned


def probed(plan: Plan, tuned: Any) -> Any:
    """Return what is probed of a model with an adapter of the library: where it has an effect."""
    from peft import PeftModel

    if isinstance(tuned, PeftModel) and tuned.active_peft_config.is_prompt_learning:
        return shown(tuned)  # the backbone itself is as it was
    return transformer_of(plan, tuned)
