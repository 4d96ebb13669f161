"""A few elements of a frozen matrix, trained as a sparse difference to it.

    y = x (W + Δ)ᵀ + b        Δ: zero but at n fixed places

Which places those are is what the methods that use this file differ in. Size s chooses
n = s · (inputs + outputs) of them, as many elements as LoRA of rank s trains.

Axes: O outputs, I inputs of the site, N chosen elements.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from autopeft.methods.linears import attach_beside
from autopeft.methods.places import Attached, Block


class SparseDelta(nn.Module):
    """A matrix with ``N`` trained elements and zeros elsewhere.

    ``places`` are their positions in the flattened matrix, shape ``(N,)``. A position p that is
    not chosen for good yet is written as -1 - p: it acts, but cannot be trained.
    """

    def __init__(self, outputs: int, inputs: int, places_N: Tensor) -> None:
        super().__init__()
        self._shape = (outputs, inputs)
        self.values = nn.Parameter(torch.zeros(len(places_N)))
        self.register_buffer("places", places_N.to(torch.int32), persistent=False)

    def forward(self, x_BTI: Tensor) -> Tensor:
        """Return ``x Δᵀ``, shape ``(B, T, O)``.

        Raises:
            RuntimeError: The places are not chosen for good, and the model is being trained.
        """
        if self.training and torch.is_grad_enabled() and bool(self.get_buffer("places")[0] < 0):
            raise RuntimeError(
                "a mask is trained before its elements are chosen: call choose_masks first, "
                "or load trained weights"
            )
        return linear(x_BTI, self.delta())

    def delta(self) -> Tensor:
        """Return ``Δ``, shape ``(O, I)``."""
        places_N = self.get_buffer("places").long()
        places_N = torch.where(places_N < 0, -1 - places_N, places_N)
        outputs, inputs = self._shape
        flat = self.values.new_zeros(outputs * inputs).scatter(0, places_N, self.values)
        return flat.view(outputs, inputs)


def attach_sparse(block: Block, site: str, places_N: Tensor) -> tuple[Attached, SparseDelta]:
    """Put a sparse difference beside the linear layer at a site."""
    place = block.sites[site]
    delta = SparseDelta(place.outputs, place.inputs, places_N).train(block.model.training)
    return attach_beside(block, site, delta, delta.delta), delta


def elements(block: Block, site: str, size: int) -> int:
    """Count the elements that a size chooses."""
    place = block.sites[site]
    return size * (place.inputs + place.outputs)


def smallest(scores: Tensor, count: int) -> Tensor:
    """Return the flat positions of the smallest scores, ascending; of equal ones the first.

    Unlike ``topk``, which leaves open what it does with equal scores, this gives the same answer
    on every machine, so that a mask can be computed again instead of being kept.
    """
    flat = scores.flatten().float().cpu().numpy()
    threshold = np.partition(flat, count - 1)[count - 1]
    below, equal = np.flatnonzero(flat < threshold), np.flatnonzero(flat == threshold)
    chosen = np.sort(np.concatenate([below, equal[: count - len(below)]]))
    return torch.from_numpy(chosen).to(scores.device)
