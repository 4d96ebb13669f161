"""AdaptFormer: an adapter beside the feed-forward layer that reads the stream (arXiv 2205.13535).

    y = FFN(LN(x)) + s · (relu(x Dᵀ + b) U + c) + x        s = 0.1

It differs from the parallel adapter in its small scale, and in that it reads x before the norm that
opens a pre-norm sub-layer, as the released code does. ``adaptformer_norm`` gives the adapter a
LayerNorm of its own, which reads x first (Chen et al. 2022, equation 2). Where no norm stands
between the stream and the feed-forward layer, the adapter reads what that reads.

Identity at initialisation: U and c are zero. Count: (2 · width + 1) · size + width, and 2 · width
for the norm. Cannot be merged: it has an activation inside.
"""

from torch import nn

from autopeft.backbone import Site
from autopeft.methods.bottleneck import Bottleneck
from autopeft.methods.parallel_adapter import alongside, ends
from autopeft.methods.places import Attached, Block, Making, Undo


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put an adapter of bottleneck width ``size`` beside the feed-forward layer."""
    adapter = _bottleneck(block, site, making)
    return Attached(parameters=dict(adapter.named_parameters()), undo=_beside(block, site, adapter))


def attach_with_norm(block: Block, site: str, making: Making) -> Attached:
    """Put an adapter of bottleneck width ``size`` that normalises what it reads."""
    norm = nn.LayerNorm(block.sites[site].inputs)
    adapter = _bottleneck(block, site, making, norm)
    of_norm = {f"norm_{name}": parameter for name, parameter in norm.named_parameters()}
    return Attached(
        parameters=of_norm | dict(adapter.named_parameters(recurse=False)),
        undo=_beside(block, site, adapter),
    )


def _beside(block: Block, site: str, adapter: nn.Module) -> Undo:
    last = ends(block, site)[1]
    return alongside(block, _reader(block, site), last, adapter)


def _bottleneck(
    block: Block, site: str, making: Making, norm: nn.LayerNorm | None = None
) -> Bottleneck:
    place, generator = block.sites[site], making.generator
    return Bottleneck(place.inputs, place.outputs, making.size, making.scale, generator, norm=norm)


def _reader(block: Block, site: str) -> Site:
    """Return the first module that reads the stream on its way into the feed-forward layer."""
    opens = block.backbone.stack_of(block.number).norm == "pre"
    norm = block.beside(site, "ffn.norm") if opens else None
    return norm or ends(block, site)[0]
