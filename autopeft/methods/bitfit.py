"""BitFit: the biases of a block, trained in place (Ben Zaken et al. 2022, arXiv 2106.10199).

Identity at initialisation: training starts from the backbone's own biases. Count: the biases of
the block's linear layers and norms; those outside the blocks (embeddings, pooler) stay frozen.
Merged by nature.
"""

from functools import partial

import torch
from torch import nn

from autopeft.methods.places import Attached, Block, Undo


def attach(
    block: Block, _site: str, _size: int, _scale: float, _generator: torch.Generator
) -> Attached:
    """Train a copy of every bias in the block in place of the frozen one."""
    trained: dict[str, nn.Parameter] = {}
    undos: list[Undo] = []
    for site in block.backbone.sites:
        if site.kind == "attention" or not site.bias:
            continue
        module = block.original(site.name)
        frozen = module.get_parameter("bias")
        bias = nn.Parameter(frozen.detach().clone().float())
        module.bias = bias
        trained[site.name] = bias
        undos.append(partial(setattr, module, "bias", frozen))

    def undo() -> None:
        for restore in undos:
            restore()

    return Attached(parameters=trained, undo=undo)
