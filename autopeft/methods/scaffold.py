"""Networks that compute parameters while these are trained, and fall away afterwards.

Reparametrisation makes prefixes and prompts easier to train: instead of the rows themselves a seed
for each and a network are trained, from which the rows follow.

Axes: R rows, S width of a seed, W width of all matrices together.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init


class Scaffolded(nn.Module):
    """Matrices of equally many rows that a network computes as long as it stands.

    ``widths`` are those of the plain matrices, by name, which are all that counts and is saved.
    While the network stands they are its shadows, up to date after `settle`.
    """

    def __init__(
        self, rows: int, widths: Mapping[str, int], network: nn.Module, seeds_RS: Tensor
    ) -> None:
        super().__init__()
        self._names = tuple(widths)
        self._kept = nn.ParameterList(torch.zeros(rows, width) for width in widths.values())
        self.network = network
        self.seeds = nn.Parameter(seeds_RS)
        self._stands = True

    def forward(self) -> tuple[Tensor, ...]:
        """Return the matrices, in the order in which they were named."""
        if not self._stands:
            return tuple(self._kept)
        widths = [kept.shape[1] for kept in self._kept]
        return torch.split(self.network(self.seeds), widths, dim=-1)

    def kept(self) -> dict[str, nn.Parameter]:
        """Return the plain matrices."""
        return dict(zip(self._names, self._kept, strict=True))

    def scaffold(self) -> dict[str, nn.Parameter]:
        """Return what is trained, and falls away."""
        return {"seeds": self.seeds} | dict(self.network.named_parameters())

    def settle(self) -> None:
        """Write into the plain matrices what the network makes of the seeds now."""
        with torch.no_grad(), torch.autocast(self.seeds.device.type, enabled=False):
            for kept, rows in zip(self._kept, self(), strict=True):
                kept.copy_(rows)

    def dismantle(self) -> None:
        """Let the plain matrices stand for themselves from now on."""
        self._stands = False


def network(layers: Iterable[nn.Module], generator: torch.Generator) -> nn.Sequential:
    """Chain layers and draw their weights by Xavier's rule; biases begin at zero."""
    chain = nn.Sequential(*layers)
    for layer in chain:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)
    return chain


def linear(inputs: int, outputs: int) -> nn.Linear:
    """Make a layer without drawing its weights from the global random state."""
    layer: nn.Linear = skip_init(nn.Linear, inputs, outputs)  # type: ignore[no-untyped-call]
    return layer
