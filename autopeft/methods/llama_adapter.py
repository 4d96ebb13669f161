"""LLaMA-Adapter: learned prompts on a softmax of their own, behind a gate (2303.16199).

    Attn(Q, K, V) + g · Attn(Q, K(P), V(P))        P: length x width, g: one number

(Zhang et al. 2023, equations 5 to 8.) K(·) and V(·) are the block's own key and value projections.
They see the prompts as they are: no norm and no position. Identity at initialisation: g is zero, so
that at first only g has a gradient. The sum is taken before the attention's output layer, which
makes no difference where that has no bias. Count: length · width + 1. Cannot be merged. The paper
adapts the topmost blocks: which blocks it is, the configuration says.
"""

from dataclasses import replace

import torch
from torch import nn

from autopeft.methods.attending import Extra
from autopeft.methods.places import Attached, Block, Making
from autopeft.methods.prompt_keys import Prompt, give_prompt, projections, width_of


class GatedPrompt(nn.Module):
    """Learned vectors with a gate that is zero at first."""

    def __init__(self, prompt: Prompt) -> None:
        super().__init__()
        self.prompt = prompt
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self) -> Extra:
        """Return what attention looks at."""
        extra: Extra = self.prompt()
        return replace(extra, apart=self.gate)


def attach(block: Block, site: str, making: Making) -> Attached:
    """Let a block's attention see ``size`` learned vectors through a gate."""
    vectors_PD = torch.randn(making.size, width_of(block), generator=making.generator)
    prompt = Prompt(vectors_PD, projections(block, site))
    gated = GatedPrompt(prompt)
    return Attached(
        parameters={"vectors": prompt.vectors, "gate": gated.gate},
        undo=give_prompt(block, site, "llama_adapter", prompt, gated),
    )
