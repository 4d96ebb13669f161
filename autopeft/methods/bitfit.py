"""BitFit: biases trained in place (Ben Zaken et al. 2022, arXiv 2106.10199).

At a block, all biases of its linear layers and norms; those outside the blocks (embeddings,
pooler) stay frozen. At a linear layer or a norm its own bias, as the gates of S3PET switch them
(Hu et al. 2022, arXiv 2206.07382); there a layer without a bias is given one, which starts at zero:

    y = x Wᵀ + b'        y = x Wᵀ + 0 + b'

Identity at initialisation: training starts from the backbone's own biases, or from zero. Count:
the widths of the outputs. Replaces the backbone's biases when it is merged; a layer that came
without one has no place for it, and a model saved with one would not be read back with it.
"""

import torch
from torch import Tensor, nn

from autopeft.backbone import Site
from autopeft.methods.in_place import in_place
from autopeft.methods.linears import beside, bias_of
from autopeft.methods.places import Attached, Block, Making
from autopeft.methods.precision import computes_in, needs_rounding
from autopeft.search_spaces.within import layers_within


class Shift(nn.Module):
    """Gives a trained bias less the frozen one that the layer itself adds, whatever it reads."""

    def __init__(self, frozen_O: Tensor) -> None:
        super().__init__()
        self.bias = nn.Parameter(frozen_O.detach().clone().float())
        self.register_buffer("frozen", frozen_O.detach().clone().float(), persistent=False)

    def forward(self, _x: Tensor) -> Tensor:
        """Return shape ``(O,)``."""
        return self.bias - self.get_buffer("frozen")


class Shifted(nn.Module):
    """A norm without a bias, and the bias that it is given."""

    def __init__(self, base: nn.Module, bias_D: nn.Parameter) -> None:
        super().__init__()
        self.base = base
        self.bias = bias_D

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return shape ``(B, T, D)``."""
        y_BTD: Tensor = self.base(x_BTD)
        return y_BTD + self.bias.to(y_BTD.dtype)


def attach(block: Block, site: str, _making: Making) -> Attached:
    """Train the biases of a block, or that of one layer."""
    place = block.sites[site]
    if place.kind == "block":
        layers = layers_within(block.backbone, place)
        return in_place((s.place, block.original(s.name), "bias") for s in layers if s.bias)
    if place.start is not None:
        return _of_slice(block, place)
    if place.bias:
        return in_place([("bias", block.original(site), "bias")])
    return _added(block, place)


def _of_slice(block: Block, place: Site) -> Attached:
    """Train the bias of a slice of a fused matrix; the other slices keep theirs."""
    frozen_O = bias_of(block, place.name)
    shift = Shift(torch.zeros(place.outputs) if frozen_O is None else frozen_O)

    def merge() -> None:
        frozen_O = bias_of(block, place.name)
        if frozen_O is not None:
            frozen_O.copy_(shift.bias.detach())

    return Attached(
        parameters={"bias": shift.bias},
        undo=beside(block, place.name, shift),
        merge=None if frozen_O is None else merge,
    )


def _added(block: Block, place: Site) -> Attached:
    """Give a bias to a layer that has none."""
    layer = block.original(place.name)
    bias_O = nn.Parameter(torch.zeros(place.outputs))
    if not isinstance(layer, nn.Linear):
        undo = block.wrap(place.name, lambda base: Shifted(base, bias_O))
        return Attached(parameters={"bias": bias_O}, undo=undo)
    layer.bias = bias_O
    rounds = needs_rounding(layer, None)
    unround = computes_in(layer, {"bias": bias_O}, layer.weight) if rounds else None

    def take_away() -> None:
        if unround:
            unround()
        setattr(layer, "bias", None)  # noqa: B010  # which mypy takes for a parameter

    return Attached(parameters={"bias": bias_O}, undo=take_away)
