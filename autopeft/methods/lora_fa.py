"""LoRA-FA: LoRA with its first factor frozen (Zhang et al. 2023, arXiv 2308.03303).

    y = x Wᵀ + b + s · (x Dᵀ) U        D: rank x inputs, random and frozen; U: rank x outputs

Identity at initialisation: U is zero, D is drawn as LoRA's. Count: rank · outputs; D is kept beside
what is trained. For the backward pass only x Dᵀ is needed, rank numbers a token, and not x. The
paper's corrections of the gradient are left out. Merges as LoRA: W + s · Uᵀ D.
"""

from dataclasses import replace

from autopeft.methods import lora
from autopeft.methods.places import Attached, Block, Making


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put LoRA-FA of rank ``size`` beside the linear layer at a site."""
    attached = lora.attach(block, site, making)
    down, up = attached.parameters["down"], attached.parameters["up"]
    return replace(attached, parameters={"up": up}, fixed={"down": down.requires_grad_(False)})
