"""The bottleneck that serial and parallel adapters share."""

import torch
from torch import Tensor, nn

from autopeft.kernels.bottleneck.naive import Activation, Norm
from autopeft.kernels.bottleneck.operator import bottleneck
from autopeft.kernels.gated_sum.operator import gated_sum
from autopeft.methods.places import Factor


class Bottleneck(nn.Module):
    """Down, activation, up, scale. Gives zero at initialisation, because ``up`` is zero.

    Count: (inputs + outputs + 1) · width + outputs, and that of the norm it reads through, if any.
    """

    def __init__(  # noqa: PLR0917  # widths, and how it is made
        self,
        inputs: int,
        outputs: int,
        width: int,
        scale: float,
        generator: torch.Generator,
        activation: Activation = "relu",
        norm: nn.LayerNorm | None = None,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.norm = norm
        self._activation: Activation = activation
        down = torch.empty(width, inputs)
        nn.init.kaiming_uniform_(down, a=5**0.5, generator=generator)
        self.down = nn.Parameter(down)
        self.down_bias = nn.Parameter(torch.zeros(width))
        self.up = nn.Parameter(torch.zeros(width, outputs))
        self.up_bias = nn.Parameter(torch.zeros(outputs))

    def forward(
        self, x_I: Tensor, stream_O: Tensor | None = None, gain_O: Tensor | None = None
    ) -> Tensor:
        """Return what the adapter adds, each channel times its gain; or the stream with it.

        Shape ``(..., outputs)``.
        """
        up_HO: Tensor = self.up if gain_O is None else gain_O * self.up
        bias_O: Tensor = self.up_bias if gain_O is None else gain_O * self.up_bias
        norm = Norm(self.norm.weight, self.norm.bias, self.norm.eps) if self.norm else None
        return bottleneck(
            x_I, self.down, self.down_bias, up_HO, bias_O, self.scale, self._activation,
            norm=norm, residual_O=stream_O,
        )  # fmt: skip


def onto(stream_O: Tensor, adapter: nn.Module, x_I: Tensor, gate: Factor | None = None) -> Tensor:
    """Add to a stream what an adapter makes of what it reads, as much of it as a gate lets in."""
    if gate is not None:
        return gated_sum(stream_O, [adapter(x_I)], [gate(x_I)])
    if isinstance(adapter, Bottleneck):
        summed_O: Tensor = adapter(x_I, stream_O)
        return summed_O
    added_O: Tensor = adapter(x_I)
    return stream_O + added_O.to(stream_O.dtype)
