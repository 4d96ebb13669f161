"""LLaMA-Adapter: learned prompts on a softmax of their own, behind a gate (2303.16199).

    Attn(Q, K, V) + g · Attn(Q, K(P), V(P))        P: length x width, g: one number

(Zhang et al. 2023, equations 5 to 8.) K(·) and V(·) are the block's own key and value projections.
They see the prompts as they are: no norm and no position. Identity at initialisation: g is zero, so
that at first only g has a gradient. The sum is taken before the attention's output layer, which
makes no difference where that has no bias. Count: length · width + 1. Cannot be merged. The paper
adapts the topmost blocks: which blocks it is, the configuration says.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from autopeft.methods.attending import Extra, give, projections
from autopeft.methods.places import Attached, Block, Making


class GatedPrompt(nn.Module):
    """Learned vectors with a gate that is zero at first."""

    def __init__(
        self,
        length: int,
        width: int,
        project: Callable[[Tensor], tuple[Tensor, Tensor]],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(length, width, generator=generator))
        self.gate = nn.Parameter(torch.zeros(1))
        self._project = project

    def forward(self) -> Extra:
        """Return what attention looks at."""
        keys_PI, values_PO = self._project(self.vectors)
        return Extra(keys=keys_PI, values=values_PO, apart=self.gate)


def attach(block: Block, site: str, making: Making) -> Attached:
    """Let a block's attention see ``size`` learned vectors through a gate."""
    width = block.backbone.stack_of(block.number).width
    prompt = GatedPrompt(making.size, width, projections(block, site), making.generator)
    return Attached(
        parameters=dict(prompt.named_parameters()), undo=give(block, site, "llama_adapter", prompt)
    )
