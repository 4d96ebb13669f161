"""The bottleneck that serial and parallel adapters share."""

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from autopeft.kernels.bottleneck.naive import Activation, bottleneck


class Bottleneck(nn.Module):
    """Down, activation, up, scale. Gives zero at initialisation, because ``up`` is zero.

    Count: (inputs + outputs + 1) · width + outputs.
    """

    def __init__(  # noqa: PLR0917  # widths, and how it is made
        self,
        inputs: int,
        outputs: int,
        width: int,
        scale: float,
        generator: torch.Generator,
        activation: Activation = relu,
    ) -> None:
        super().__init__()
        self.scale = scale
        self._activation = activation
        down = torch.empty(width, inputs)
        nn.init.kaiming_uniform_(down, a=5**0.5, generator=generator)
        self.down = nn.Parameter(down)
        self.down_bias = nn.Parameter(torch.zeros(width))
        self.up = nn.Parameter(torch.zeros(width, outputs))
        self.up_bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x_I: Tensor) -> Tensor:
        """Return what the adapter adds, shape ``(..., outputs)``."""
        return bottleneck(
            x_I, self.down, self.down_bias, self.up, self.up_bias, self.scale, self._activation
        )
