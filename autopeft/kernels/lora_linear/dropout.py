"""What the CPU's forms drop in front of the low-rank product: it follows from a seed.

Axes: ... any leading axes, I inputs.
"""

import torch
from torch import Tensor


def kept(x_I: Tensor, dropout: float, seed: int) -> Tensor | None:
    """Return 0 where an input is dropped, and 1 / (1 - dropout) elsewhere; None without dropout."""
    return None if dropout == 0 else drawn(x_I.detach(), dropout, seed)


# ``torch.compile`` cannot look into a generator, and takes an operator as it is.
@torch.library.custom_op("autopeft::lora_linear_kept", mutates_args=())
def drawn(x_I: Tensor, dropout: float, seed: int) -> Tensor:
    """Return what is kept of an input's shape and type; equal seeds give equal numbers."""
    generator = torch.Generator(x_I.device).manual_seed(seed)
    found = torch.empty_like(x_I, memory_format=torch.contiguous_format)
    return found.bernoulli_(1 - dropout, generator=generator).div_(1 - dropout)


@drawn.register_fake
def _(x_I: Tensor, _dropout: float, _seed: int) -> Tensor:
    return torch.empty_like(x_I, memory_format=torch.contiguous_format)
