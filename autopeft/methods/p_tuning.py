"""P-tuning: prompts that a network computes while they are trained (Liu et al. 2021, 2103.10385).

    P = C relu(B relu(A E + a) + b) + c        E: length x width, A, B, C: width x width

Trained are E, which begins as words, and the network; kept is P alone, under the names of
``prompt_tuning``, which says where the prompts go. The network is the three-layer perceptron of the
`peft` library; the paper's own is an LSTM before two layers. Not the identity at initialisation.
Count, kept: length · width. Trained beside it and discarded: length · width + 3 · width ·
(width + 1). Cannot be merged.
"""

from torch import Tensor, nn

from autopeft.methods.places import Attached, Block, Making
from autopeft.methods.prompt_tuning import drawn
from autopeft.methods.prompting import in_front
from autopeft.methods.scaffold import Scaffolded, linear, network


class PromptsOfNetwork(nn.Module):
    """Vectors that are computed while they are trained."""

    def __init__(self, rows: Scaffolded) -> None:
        super().__init__()
        self.rows = rows

    def forward(self) -> Tensor:
        """Return shape ``(P, D)``."""
        vectors_PD: Tensor = self.rows()[0]
        return vectors_PD


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put ``size`` vectors in front of what a stack reads."""
    width = block.sites[site].outputs
    layers = [
        *(linear(width, width), nn.ReLU()),
        *(linear(width, width), nn.ReLU()),
        linear(width, width),
    ]
    seeds = drawn(block, site, making.size, making.generator)
    rows = Scaffolded(making.size, {"vectors": width}, network(layers, making.generator), seeds)
    return Attached(
        parameters=rows.kept(),
        scaffold=rows.scaffold(),
        settle=rows.settle,
        dismantle=rows.dismantle,
        undo=in_front(block, site, "p_tuning", PromptsOfNetwork(rows)),
    )
