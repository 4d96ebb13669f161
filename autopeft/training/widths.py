"""The widths of one module of a model, on whatever device."""

from dataclasses import dataclass
from typing import Any

from autopeft.backbone import SiteKind


@dataclass(frozen=True, slots=True)
class Widths:
    """What goes in, what comes out, and whether there is a bias."""

    inputs: int
    outputs: int
    bias: bool = False

    def __str__(self) -> str:
        bias = "with" if self.bias else "without"
        return f"{self.inputs} to {self.outputs} {bias} bias"


def widths_of(module: Any, kind: SiteKind) -> Widths | None:
    """Measure a module as one of a kind; None where it is not of that kind.

    Attention is not measured here: it has the widths of its keys and values.
    """
    if kind == "linear":
        return _linear(module)
    if kind == "norm":
        return _norm(module)
    if kind == "embeddings":
        return _embeddings(module)
    return Widths(0, 0)


def _linear(module: Any) -> Widths | None:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    if isinstance(module, nn.Linear):
        return Widths(module.in_features, module.out_features, module.bias is not None)
    if isinstance(module, Conv1D):
        inputs, outputs = module.weight.shape
        return Widths(inputs, outputs, bias=True)
    return None


def _norm(module: Any) -> Widths | None:
    """A norm has one weight a feature, whatever its class is called."""
    weight = getattr(module, "weight", None)
    if weight is None or weight.dim() != 1:
        return None
    return Widths(len(weight), len(weight), getattr(module, "bias", None) is not None)


def _embeddings(module: Any) -> Widths | None:
    """The width of what comes out: of the last norm inside, else of what is looked up."""
    from torch import nn

    inner = list(module.modules())
    widths = [found.outputs for part in inner if (found := _norm(part))]
    widths = widths[-1:] or [part.embedding_dim for part in inner if isinstance(part, nn.Embedding)]
    widths = widths or [part.out_channels for part in inner if isinstance(part, nn.Conv2d)]
    return Widths(widths[0], widths[0]) if widths else None
