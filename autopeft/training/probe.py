"""A probe of what a model gives: the same made-up inputs before and after, and how far it is.

Axes: B batch, T tokens, C scores.
"""

from collections.abc import Mapping, Sequence
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor

from autopeft.evidence import Drift

_EXAMPLES, _TOKENS, _SEED = 4, 12, 20
_NUMBERS = 24
_CLOSE = 2e-3
"""What other machines and libraries may do to a number, relative to the mean one."""


def inputs_for(config: Any) -> dict[str, Tensor]:
    """Make up inputs for a model: four texts of different lengths, or four images."""
    generator = torch.Generator().manual_seed(_SEED)
    if (size := getattr(config, "image_size", None)) is not None:
        high, wide = (size, size) if isinstance(size, int) else size
        channels = getattr(config, "num_channels", 3)
        shape = (_EXAMPLES, channels, high, wide)
        return {"pixel_values": torch.randn(shape, generator=generator)}
    text = config.get_text_config()
    tokens = min(_TOKENS, (getattr(text, "max_position_embeddings", None) or 2 * _TOKENS) // 2)
    mask_BT = torch.ones(_EXAMPLES, tokens, dtype=torch.long)
    for row in range(1, _EXAMPLES):
        mask_BT[row, tokens - row * tokens // 6 :] = 0
    inputs = {"input_ids": _ids(text, tokens, generator) * mask_BT, "attention_mask": mask_BT}
    if config.is_encoder_decoder:
        inputs["decoder_input_ids"] = _ids(text, tokens, generator)
    return inputs


def _ids(config: Any, tokens: int, generator: torch.Generator) -> Tensor:
    # the first numbers are those of special tokens, which some models treat as padding
    first = min(4, config.vocab_size - 1)
    return torch.randint(first, config.vocab_size, (_EXAMPLES, tokens), generator=generator)


def scores_of(model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    """Return the scores of a model, or its hidden states where it has no head; ``(N, C)``."""
    with torch.inference_mode():
        out = model.eval()(**inputs)
    found: Tensor | None = out.get("logits")
    if found is None:
        found = out.last_hidden_state
    if found.dim() == 2:
        return found.float().clone()
    mask = None if "decoder_input_ids" in inputs else inputs.get("attention_mask")
    rows = found.flatten(0, 1) if mask is None else found[mask.bool()]
    return rows.float().clone()


def drift(before_NC: Tensor, after_NC: Tensor) -> Drift:
    """Measure how far one model's scores are from another's."""
    apart = (after_NC - before_NC).abs()
    same = before_NC.argmax(-1) == after_NC.argmax(-1)
    return Drift(
        largest=float(apart.max()),
        mean=float(apart.mean()),
        scale=float(before_NC.abs().mean()),
        same=float(same.float().mean()),
        examples=_EXAMPLES,
    )


def numbers_of(base: Any) -> tuple[float, ...]:
    """Return some of what a backbone gives for made-up inputs.

    Nothing for one without numbers, or with a side for texts and one for images.
    """
    device = next(base.parameters()).device
    if device.type == "meta" or getattr(base.config, "vision_config", None) is not None:
        return ()
    training = base.training
    inputs = {name: value.to(device) for name, value in inputs_for(base.config).items()}
    flat = scores_of(base, inputs).flatten().cpu()
    base.train(training)
    places = torch.linspace(0, len(flat) - 1, _NUMBERS).long()
    return tuple(float(number) for number in flat[places])


def apart(known: Sequence[float], found: Sequence[float]) -> float | None:
    """Return how far two probes are apart where that is more than rounding does, else None."""
    size = max(1.0, sum(map(abs, known)) / max(1, len(known)))
    gaps = [abs(a - b) for a, b in zip(known, found, strict=False)]
    # what is no number is close to nothing, and would be lost in a comparison
    if len(known) == len(found) and all(isfinite(g) and g <= _CLOSE * size for g in gaps):
        return None
    return max((gap if isfinite(gap) else inf for gap in gaps), default=0.0)
