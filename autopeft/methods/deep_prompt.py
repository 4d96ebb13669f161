"""Deep visual prompt tuning: learned tokens at every block (Jia et al. 2022, arXiv 2203.12119).

The paper appends p learned vectors P to the tokens that enter a block, and drops what the block
makes of them, because the next block brings its own. So they act in one way only: the tokens attend
to them. What comes out for the tokens is exactly

    Attn(Q, [K(P); K], [V(P); V])        P: length x width

with the block's own frozen (or otherwise adapted) key and value projections K(·) and V(·), after
the norm that opens the sub-layer where the block has one there. This form is used here: it needs no
longer sequence, and it holds under masks, causal order and grouped-query attention. A prompt has no
position: its key is not rotated, and T5's bias is zero for it.

In the first block alone this is what the first block of the paper's VPT-shallow does. There the
prompts run on through all blocks: that is ``prompt_tuning`` at a vision model's embeddings.

Not the identity at initialisation. Count: length · width. Cannot be merged.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from autopeft.methods.attending import Extra, give, projections
from autopeft.methods.places import Attached, Block, Making


class DeepPrompt(nn.Module):
    """Learned vectors that attention sees as it sees tokens."""

    def __init__(
        self,
        length: int,
        width: int,
        project: Callable[[Tensor], tuple[Tensor, Tensor]],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        spread = (3 / width) ** 0.5  # the paper's, for 16 x 16 patches of width 768
        drawn = torch.rand(length, width, generator=generator)
        self.vectors = nn.Parameter(spread * (2 * drawn - 1))
        self._project = project

    def forward(self) -> Extra:
        """Return what attention looks at."""
        keys_PI, values_PO = self._project(self.vectors)
        return Extra(keys=keys_PI, values=values_PO)


def attach(block: Block, site: str, making: Making) -> Attached:
    """Let a block's attention see ``size`` learned vectors."""
    width = block.backbone.stack_of(block.number).width
    prompt = DeepPrompt(making.size, width, _as_the_block_does(block, site), making.generator)
    return Attached(
        parameters=dict(prompt.named_parameters()), undo=give(block, site, "deep_prompt", prompt)
    )


def _as_the_block_does(block: Block, site: str) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Project vectors as tokens are: through the opening norm, where there is one."""
    project = projections(block, site)
    norm = block.beside(site, "attention.norm")
    if norm is None or block.backbone.stack_of(block.number).norm == "post":
        return project
    path = block.backbone.module_path(norm, block.number)
    return lambda x_PD: project(block.model.get_submodule(path)(x_PD))
