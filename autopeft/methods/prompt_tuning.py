"""Prompt tuning: learned vectors in front of the embedded input (Lester et al. 2021, 2104.08691).

    [P; E(x)]        P: length x width of an embedded word

The prompts run through all blocks; what comes out for them is taken away (``prompting``). On a
model that reads images this is VPT-shallow (Jia et al. 2022, arXiv 2203.12119). Not the identity at
initialisation: every token attends to the prompts. They begin as words drawn from the vocabulary,
which the paper found better than noise, and on images as noise. Count: length · width. Cannot be
merged: the input has no place for them. The model needs a position for each of them.
"""

import torch
from torch import Tensor, nn

from autopeft.methods.places import Attached, Block, Making
from autopeft.methods.prompt_keys import uniform
from autopeft.methods.prompting import in_front, word_vectors


class Prompts(nn.Module):
    """Learned vectors."""

    def __init__(self, vectors_PD: Tensor) -> None:
        super().__init__()
        self.vectors = nn.Parameter(vectors_PD)

    def forward(self) -> Tensor:
        """Return shape ``(P, D)``."""
        return self.vectors


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put ``size`` learned vectors in front of what a stack reads."""
    prompts = Prompts(drawn(block, site, making.size, making.generator))
    return Attached(
        parameters=dict(prompts.named_parameters()),
        undo=in_front(block, site, "prompt_tuning", prompts),
    )


def drawn(block: Block, site: str, length: int, generator: torch.Generator) -> Tensor:
    """Draw words from the vocabulary, or noise where the model reads no words."""
    words = word_vectors(block, site)
    if words is not None:
        return words[torch.randint(len(words), (length,), generator=generator)].float()
    return uniform(length, block.sites[site].outputs, generator)
