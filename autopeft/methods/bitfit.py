"""BitFit: the biases of a block, trained in place (Ben Zaken et al. 2022, arXiv 2106.10199).

Identity at initialisation: training starts from the backbone's own biases. Count: the biases of
the block's linear layers and norms; those outside the blocks (embeddings, pooler) stay frozen.
Merged by nature.
"""

from functools import partial

import torch
from torch import nn

from autopeft.methods.places import Attached, Block, Making, Undo


def attach(block: Block, _site: str, _making: Making) -> Attached:
    """Train a copy of every bias in the block in place of the frozen one."""
    trained: dict[str, nn.Parameter] = {}
    frozen: dict[str, nn.Parameter] = {}
    undos: list[Undo] = []
    for site in block.linears_and_norms():
        if not site.bias:
            continue
        module = block.original(site.name)
        frozen[site.name] = module.get_parameter("bias")
        trained[site.name] = nn.Parameter(frozen[site.name].detach().clone().float())
        module.bias = trained[site.name]
        undos.append(partial(setattr, module, "bias", frozen[site.name]))

    def undo() -> None:
        for restore in undos:
            restore()

    def merge() -> None:
        with torch.no_grad():
            for name, bias in frozen.items():
                bias.copy_(trained[name])

    return Attached(parameters=trained, undo=undo, merge=merge)
