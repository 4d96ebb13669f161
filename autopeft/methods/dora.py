"""DoRA: LoRA for the direction of a matrix, a vector for its magnitude (Liu et al. 2024).

    y = b + (m / n) ∘ (x Wᵀ + s · (x Dᵀ) U)        n = row norms of W + s · Uᵀ D
    D: rank x inputs, U: rank x outputs, m: outputs

n gets no gradient (the paper's section 4.3), and the bias takes no part in the scaling. As in the
`peft` library, a norm is that of all weights of one output. Identity at initialisation: U is zero
and m are the row norms of W. Count: rank · (inputs + outputs) + outputs. Merges into W as
(m / n) ∘ (W + s · Uᵀ D). The scale is a constant, unlike the paper's alpha / r.
Paper: arXiv 2402.09353.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from autopeft.kernels.lora_linear.operator import lora_linear, row_norms
from autopeft.methods.linears import plus_slice, trained_bias_of, weight_of
from autopeft.methods.lora import LowRank
from autopeft.methods.places import Attached, Block, Making
from autopeft.methods.precision import beside_frozen, is_quantised

_LEAST = torch.finfo(torch.float32).tiny


class Direction(nn.Module):
    """A low-rank product and the magnitudes of the rows of the matrix that it is added to."""

    def __init__(self, product: LowRank, weight_OI: Callable[[], Tensor]) -> None:
        super().__init__()
        self.product = product
        self.weight_OI = weight_OI
        self.magnitude = nn.Parameter(self.norms().clone())

    def forward(self, x_I: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        """Return the whole map of a frozen weight, in one operator; shape ``(..., outputs)``."""
        own = self.product
        return lora_linear(
            x_I, weight_OI, bias_O, own.down, own.up, own.scale, ratio_O=self.ratio()
        )

    def added(self, x_I: Tensor, plain_O: Tensor) -> Tensor:
        """Return what is added to ``x Wᵀ``, which is given; shape ``(..., outputs)``."""
        ratio_O = self.ratio()
        added_O: Tensor = self.product(x_I)
        return (ratio_O - 1) * plain_O + ratio_O * added_O

    def ratio(self) -> Tensor:
        """Return the factors that give each row its magnitude; only that one has a gradient."""
        return self.magnitude / self.norms()

    def norms(self) -> Tensor:
        """Return the row norms of the matrix as it is now, never zero, without a gradient."""
        own = self.product
        return row_norms(self.weight_OI(), own.down, own.up, own.scale).clamp_min(_LEAST)


class DoraLinear(nn.Module):
    """A plain linear layer, whose outputs have a new direction and magnitude, in one operator."""

    def __init__(self, base: nn.Linear, direction: Direction) -> None:
        super().__init__()
        self.base = base
        self.direction = direction

    def forward(self, x_I: Tensor) -> Tensor:
        """Return the sum, with the shape of the base's output."""
        base = self.base
        bias_O = None if base.bias is None else beside_frozen(base.bias, base.weight)
        y_O: Tensor = self.direction(x_I, base.weight, bias_O)
        return y_O


class DoraBeside(nn.Module):
    """Any linear layer, all or a slice of whose outputs have a new direction and magnitude.

    ``bias_O`` gives the layer's bias; it is None where ``base`` is more than the bare layer, whose
    own output must then be computed once more: what others add is not to be scaled.
    """

    def __init__(
        self,
        base: nn.Module,
        direction: Direction,
        start: int,
        bias_O: Callable[[], Tensor | None] | None,
    ) -> None:
        super().__init__()
        self.base = base
        self.direction = direction
        self._start = start
        self._bias_O = bias_O

    def forward(self, x_I: Tensor) -> Tensor:
        """Return the sum, with the shape of the base's output."""
        y: Tensor = self.base(x_I)
        return plus_slice(y, self.direction.added(x_I, self._plain(x_I, y)), self._start)

    def _plain(self, x_I: Tensor, y: Tensor) -> Tensor:
        """Return ``x Wᵀ``, shape ``(..., outputs)``."""
        if self._bias_O is None:
            return nn.functional.linear(x_I, self.direction.weight_OI().to(x_I.dtype))
        own_O = y[..., self._start : self._start + len(self.direction.magnitude)]
        bias_O = self._bias_O()
        return own_O if bias_O is None else own_O - bias_O


def attach(block: Block, site: str, making: Making) -> Attached:
    """Put DoRA of rank ``size`` around the linear layer at a site."""
    place = block.sites[site]
    product = LowRank(place.inputs, place.outputs, making.size, making.scale, making.generator)
    direction = Direction(product, partial(weight_of, block, site))
    bias_O = partial(trained_bias_of, block, site)

    def around(base: nn.Module) -> nn.Module:
        bare = base is block.original(site)
        if bare and type(base) is nn.Linear and place.start is None and not is_quantised(base):
            return DoraLinear(base, direction)
        return DoraBeside(base, direction, place.start or 0, bias_O if bare else None)

    def merge() -> None:
        with torch.no_grad():
            weight_OI = weight_of(block, site)
            merged_OI = direction.ratio()[:, None] * (weight_OI + product.delta())
            weight_OI.copy_(merged_OI)

    return Attached(
        parameters={**dict(product.named_parameters()), "magnitude": direction.magnitude},
        undo=block.wrap(site, around),
        merge=merge,
    )
