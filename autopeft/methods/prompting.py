"""Learned vectors in front of what a stack reads, taken away again behind its last block.

A text model gets them in front of its embedded words (``inputs_embeds``), where it gives them
positions as it does to words. Where a model embeds what it reads in one go (images, CLIP's texts),
they come in front of the finished embeddings, without a position. Masks, positions and token types
grow with them. Callers give T tokens and get T tokens back, and poolers find the first token or the
last where they always do. The decoder of an encoder-decoder model attends to what the encoder makes
of the prompts, as in Lester et al. 2021.

Axes: B batch, T tokens, P prompts, D width of an embedded word.
"""

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils import ModelOutput

from autopeft.errors import BackboneError
from autopeft.methods.places import Block, Undo

Inputs = dict[str, Any]
_TABLES = ("position_embeddings", "embed_positions", "wpe")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """The modules between which prompts live.

    ``owner`` has the embeddings and makes the masks, ``last`` is the module behind which the
    prompts go. ``whole`` is the encoder-decoder model of which the owner is the encoder, else None.
    """

    owner: nn.Module
    embeddings: nn.Module
    last: nn.Module
    whole: nn.Module | None


def in_front(block: Block, site: str, method: str, prompts: nn.Module) -> Undo:
    """Put the vectors that ``prompts()`` returns, ``(P, D)``, in front of what a stack reads."""
    name = f"autopeft_{method}"
    place = _place(block, site)
    hooks = _Hooks(place, prompts)
    place.owner.add_module(name, prompts)
    if _reads_words(place.owner):
        handles = [place.owner.register_forward_pre_hook(hooks.words, with_kwargs=True)]
    else:
        handles = [
            place.owner.register_forward_pre_hook(hooks.mask, with_kwargs=True),
            place.embeddings.register_forward_hook(hooks.embedded),
        ]
    if place.whole is not None:
        handles.append(place.whole.register_forward_pre_hook(hooks.mask, with_kwargs=True))
        handles.append(place.whole.register_forward_hook(hooks.stripped))
    else:
        handles.append(place.last.register_forward_hook(hooks.stripped))
        handles.append(place.owner.register_forward_hook(hooks.hidden))

    def undo() -> None:
        for handle in handles:
            handle.remove()
        delattr(place.owner, name)

    return undo


def word_vectors(block: Block, site: str) -> Tensor | None:
    """Return the frozen embeddings of all words, None where prompts do not stand among words."""
    owner: Any = _place(block, site).owner
    return owner.get_input_embeddings().weight.detach() if _reads_words(owner) else None


def _place(block: Block, site: str) -> _Place:
    path = block.sites[site].path
    owner = block.model.get_submodule(path.rpartition(".")[0])
    stack = block.sites[site].stack
    inside = next(s.path for s in block.sites.values() if s.stack == stack and "{block}" in s.path)
    blocks = inside.partition(".{block}")[0]
    around = block.model.get_submodule(blocks.rpartition(".")[0])
    two: bool = getattr(block.model, "config").is_encoder_decoder  # noqa: B009  # for mypy
    return _Place(
        owner=owner,
        embeddings=block.model.get_submodule(path),
        last=_last(owner, around, block.model.get_submodule(blocks)),
        whole=block.model if two else None,
    )


def _last(owner: nn.Module, around: nn.Module, blocks: nn.Module) -> nn.Module:
    # ALBERT runs its last block often, and GPT-2 counts tokens once more behind its last. But a
    # pooler inside the owner of the blocks reads what comes out of them: that is so for images.
    return around if around is not owner or _reads_words(owner) else list(blocks.children())[-1]


class _Hooks:
    """What is done to the inputs and outputs of the modules of a place."""

    def __init__(self, place: _Place, prompts: nn.Module) -> None:
        self._owner = place.owner
        self._prompts = prompts
        self._positions = _positions(place.owner)
        self._put = 0

    def words(self, owner: Any, args: tuple[Any, ...], kwargs: Inputs) -> tuple[Any, Inputs]:
        """Embed the words and put the prompts in front; cached prompts are only made room for."""
        inputs = _by_name(owner, args, kwargs)
        prompts_PD: Tensor = self._prompts()
        if inputs.get("inputs_embeds") is None:
            inputs["inputs_embeds"] = owner.get_input_embeddings()(inputs["input_ids"])
        inputs["input_ids"] = None
        words_BTD: Tensor = inputs["inputs_embeds"]
        cache = inputs.get("past_key_values")
        self._put = 0 if cache is not None and cache.get_seq_length() else len(prompts_PD)
        if self._put:
            self._check(words_BTD.shape[1])
            inputs["inputs_embeds"] = _cat(prompts_PD, words_BTD)
        _make_room(inputs, len(prompts_PD), words_BTD.shape[1], put=bool(self._put))
        return (), inputs

    def mask(self, module: Any, args: tuple[Any, ...], kwargs: Inputs) -> tuple[Any, Inputs]:
        """Let the mask admit the prompts."""
        inputs = _by_name(module, args, kwargs)
        if (mask := inputs.get("attention_mask")) is not None:
            inputs["attention_mask"] = _longer(mask, len(self._prompts()), 1)
        return (), inputs

    def embedded(self, _module: nn.Module, _args: Any, x_BTD: Tensor) -> Tensor:
        """Put the prompts in front of finished embeddings."""
        prompts_PD = self._prompts()
        self._put = len(prompts_PD)
        return _cat(prompts_PD, x_BTD)

    def stripped(self, _module: nn.Module, _args: Any, out: Any) -> Any:
        """Take the prompts away from what comes out, as a tensor, a tuple or a record."""
        if isinstance(out, Tensor):
            return out[:, self._put :]
        if isinstance(out, ModelOutput):
            return _without(out, self._put)
        return (out[0][:, self._put :], *out[1:])

    def hidden(self, _module: nn.Module, _args: Any, out: Any) -> None:
        """Take the prompts away from the states between blocks, where these are asked for."""
        states = out.get("hidden_states") if isinstance(out, ModelOutput) else None
        if states is not None:
            tokens = out.last_hidden_state.shape[1]
            out["hidden_states"] = tuple(state[:, state.shape[1] - tokens :] for state in states)

    def _check(self, tokens: int) -> None:
        needed = tokens + self._put
        if self._positions is not None and needed > self._positions:
            raise BackboneError(
                f"a text of {tokens} tokens and {self._put} prompts need {needed} positions, and "
                f"the model has {self._positions}: cut texts to {self._positions - self._put}"
            )


def _make_room(inputs: Inputs, prompts: int, tokens: int, *, put: bool) -> None:
    """Let all that has an entry for each token have one for each prompt."""
    mask = inputs.get("attention_mask")
    # That of an encoder inside an encoder-decoder model is long enough already.
    if mask is not None and (mask.shape[1] == tokens or not put):
        inputs["attention_mask"] = _longer(mask, prompts, 1)
    if put and (types := inputs.get("token_type_ids")) is not None:
        inputs["token_type_ids"] = _longer(types, prompts, 0)
    if (positions := inputs.get("position_ids")) is not None:
        before = torch.arange(prompts, device=positions.device).expand(len(positions), -1)
        moved = positions + prompts
        inputs["position_ids"] = torch.cat([before, moved], dim=1) if put else moved


def _longer(x_BT: Tensor, more: int, value: int) -> Tensor:
    return torch.cat([x_BT.new_full((len(x_BT), more), value), x_BT], dim=1)


def _cat(prompts_PD: Tensor, x_BTD: Tensor) -> Tensor:
    return torch.cat([prompts_PD.to(x_BTD.dtype).expand(len(x_BTD), -1, -1), x_BTD], dim=1)


def _without(out: ModelOutput, prompts: int) -> ModelOutput:
    """Shorten the states of a stack, those of the encoder where it is one of two."""
    stack = "encoder_" if "encoder_last_hidden_state" in out else ""
    out[f"{stack}last_hidden_state"] = out[f"{stack}last_hidden_state"][:, prompts:]
    if (states := out.get(f"{stack}hidden_states")) is not None:
        out[f"{stack}hidden_states"] = tuple(state[:, prompts:] for state in states)
    return out


def _reads_words(owner: nn.Module) -> bool:
    return "inputs_embeds" in inspect.signature(owner.forward).parameters


def _by_name(module: nn.Module, args: tuple[Any, ...], kwargs: Inputs) -> Inputs:
    return dict(zip(inspect.signature(module.forward).parameters, args, strict=False)) | kwargs


def _positions(owner: nn.Module) -> int | None:
    """Count the learned positions that a text can have; None where they are computed."""
    for name, table in owner.named_modules():
        if name.endswith(_TABLES) and isinstance(table, nn.Embedding):
            # RoBERTa's begin after that of padding, those of BART and OPT after two.
            skipped = getattr(table, "offset", None)
            if skipped is None:
                skipped = 0 if table.padding_idx is None else table.padding_idx + 1
            return table.num_embeddings - int(skipped)
    return None
