"""DyLoRA: LoRA whose every smaller rank works as well (Valipour et al. 2022, arXiv 2210.07558).

    y = x Wᵀ + b + s · (x D[:b]ᵀ) U[:b]        D: rank x inputs, U: rank x outputs

While training, each step draws one b for all matrices, uniform from 1 to the largest rank in the
configuration; a matrix of smaller rank takes all of its own. Evaluation uses the whole rank. The
paper's scale is alpha / b; here it is constant, so that the first rows mean the same in every
draw. All b rows are updated, not the last alone (the paper's "frozen" variant); rows that a step
leaves out have no gradient, though AdamW's momentum still moves them a little.

Identity at initialisation: U is zero. Count and merging as LoRA's.
"""

import torch
from torch import Tensor, nn

from autopeft.kernels.lora_linear.operator import low_rank
from autopeft.methods.linears import beside, merge_delta
from autopeft.methods.lora import LowRank
from autopeft.methods.places import Attached, Block, Making


class Draw:
    """The rank of the present step, the same for all matrices of a configuration."""

    def __init__(self, generator: torch.Generator) -> None:
        # A generator of its own: what is made after this module must not depend on the training.
        seed = torch.randint(2**31, (), generator=generator)
        self._generator = torch.Generator().manual_seed(int(seed))
        self._largest = 0
        self._drawn: int | None = None

    def reach(self, rank: int) -> None:
        """Draw up to this rank, if it is larger than all before."""
        self._largest = max(self._largest, rank)

    def rank(self) -> int:
        """Return the rank of this step: the same until the step is over."""
        if self._drawn is None:
            drawn = torch.randint(1, self._largest + 1, (), generator=self._generator)
            self._drawn = int(drawn)
        return self._drawn

    def stepped(self, _step: int, _whole: int) -> None:
        """Forget the rank of the step that is over."""
        self._drawn = None


class Nested(nn.Module):
    """A low-rank product of which training uses the first rows only, as many as are drawn."""

    def __init__(self, product: LowRank, draw: Draw) -> None:
        super().__init__()
        self.product = product
        self._draw = draw

    def forward(self, x_I: Tensor) -> Tensor:
        """Return ``s · (x D[:b]ᵀ) U[:b]``, shape ``(..., outputs)``."""
        own = self.product
        rank = self._draw.rank() if self.training else len(own.down)
        return low_rank(x_I, own.down[:rank], own.up[:rank], own.scale)


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put DyLoRA of largest rank ``size`` beside the linear layer at a site."""
    place = block.sites[site]
    first = "dylora" not in making.everywhere
    if first:
        making.everywhere["dylora"] = Draw(making.generator)
    draw: Draw = making.everywhere["dylora"]
    draw.reach(making.size)
    product = LowRank(place.inputs, place.outputs, making.size, making.scale, making.generator)
    nested = Nested(product, draw).train(block.original(site).training)
    return Attached(
        parameters=dict(product.named_parameters()),
        undo=beside(block, site, nested, mixes=True),
        merge=merge_delta(block, site, product.delta),
        stepped=draw.stepped if first else None,
    )
