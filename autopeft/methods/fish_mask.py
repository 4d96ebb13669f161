"""FISH mask: the elements that matter most to the task, trained (Sung et al. 2021, 2111.09839).

    y = x (W + Δ)ᵀ + b        Δ: zero but where the empirical Fisher information of W is largest

The Fisher information of an element is the mean over training examples of the squared gradient of
the log likelihood. The paper takes the largest of the whole model; here each matrix
has its own share.

The mask follows from data, so it is chosen when the task model stands (``training/fisher.py``),
and is kept beside the trained values. Until then the first elements stand in, so that everything
but training can be done.

Identity at initialisation: Δ is zero. Count: size · (inputs + outputs). Merges into W as W + Δ.
"""

from dataclasses import replace

import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from autopeft.methods.masks import attach_sparse, elements, smallest
from autopeft.methods.places import Attached, Block, Choice, Making


def attach(block: Block, site: str, making: Making) -> Attached:
    """Train the elements of a matrix that have the largest Fisher information."""
    count = elements(block, site, making.size)
    attached, delta = attach_sparse(block, site, -1 - torch.arange(count))
    places_N = delta.get_buffer("places")

    def choose(squared_gradient: Tensor) -> None:
        places_N.copy_(smallest(-_of_site(block, site, squared_gradient), count))

    choice = Choice(weight=block.original(site).get_parameter("weight"), choose=choose)
    return replace(attached, fixed={"places": places_N}, choice=choice)


def _of_site(block: Block, site: str, whole: Tensor) -> Tensor:
    """Cut what has the shape of a layer's weight down to a site's own, ``(outputs, inputs)``."""
    place = block.sites[site]
    whole_OI = whole.T if isinstance(block.original(site), Conv1D) else whole
    start = place.start or 0
    return whole_OI[start : start + place.outputs]
