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

from autopeft.methods.places import Attached, Block, Making
from autopeft.methods.prompt_keys import (
    Prompt,
    give_prompt,
    normed_projections,
    uniform,
    width_of,
)


def attach(block: Block, site: str, making: Making) -> Attached:
    """Let a block's attention see ``size`` learned vectors."""
    vectors_PD = uniform(making.size, width_of(block), making.generator)
    prompt = Prompt(vectors_PD, normed_projections(block, site))
    return Attached(
        parameters={"vectors": prompt.vectors},
        undo=give_prompt(block, site, "deep_prompt", prompt, prompt),
    )
