"""The bottleneck that serial and parallel adapters share."""

import torch
from torch import Tensor, nn

from autopeft.kernels.bottleneck.naive import bottleneck


class Bottleneck(nn.Module):
    """Down, ReLU, up, scale. Gives zero at initialisation, because ``up`` is zero.

    Count: (inputs + outputs + 1) · width + outputs.
    """

    def __init__(
        self, inputs: int, outputs: int, width: int, scale: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.scale = scale
        down = torch.empty(width, inputs)
        nn.init.kaiming_uniform_(down, a=5**0.5, generator=generator)
        self.down = nn.Parameter(down)
        self.down_bias = nn.Parameter(torch.zeros(width))
        self.up = nn.Parameter(torch.zeros(width, outputs))
        self.up_bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x_BTI: Tensor) -> Tensor:
        """Return what the adapter adds, shape ``(B, T, outputs)``."""
        return bottleneck(x_BTI, self.down, self.down_bias, self.up, self.up_bias, self.scale)
