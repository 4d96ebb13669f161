"""The logits of gates and of their sizes, and what is tossed and drawn by them (BIPEFT).

Axes: A gates, K sizes of a gate, R rows of its largest size.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from autopeft.supernet.gating.gates import Gradients
from autopeft.supernet.gating.ground import CLIP
from autopeft.supernet.gating.structures import Gate


class Logits:
    """The logits of gates and of their sizes, and what is drawn by them."""

    def __init__(self, gates: Sequence[Gate], rate: float) -> None:
        self.gates_A = nn.Parameter(torch.zeros(len(gates), dtype=torch.float64))
        self.sizes = {
            place: nn.Parameter(torch.zeros(len(gate.sizes), dtype=torch.float64))
            for place, gate in enumerate(gates)
            if len(gate.sizes) > 1
        }
        self._kept = {place: _rows_of(gates[place]) for place in self.sizes}
        self.fixed: dict[int, int] = {}
        self._rate = rate
        self._by_turn = [self._adam([self.gates_A]), self._adam(list(self.sizes.values()))]

    def likeliest(self, place: int) -> int:
        """Return which of a gate's sizes is likeliest, or fixed."""
        if place not in self.sizes:
            return 0
        return self.fixed.get(place, int(self.sizes[place].argmax()))

    def shares(self, place: int) -> list[float]:
        """Return the probabilities of a gate's sizes."""
        if place not in self.sizes:
            return [1.0]
        if place in self.fixed:
            return [float(k == self.fixed[place]) for k in range(len(self.sizes[place]))]
        shares: list[float] = self.sizes[place].detach().softmax(0).tolist()
        return shares

    def fix(self) -> None:
        """Let every gate have its likeliest size from here on."""
        self.fixed = {place: self.likeliest(place) for place in self.sizes}

    def toss(self, temperature: float, generator: torch.Generator) -> Tensor:
        """Toss a coin for every gate: 0 or 1, with the gradient of the relaxed toss."""
        u_A = torch.rand(len(self.gates_A), generator=generator, dtype=torch.float64)
        noise_A = torch.logit(u_A, eps=1e-7)
        soft_A = torch.sigmoid((self.gates_A + noise_A) / temperature)
        return (soft_A > 0.5).double() + (soft_A - soft_A.detach())

    def draw(self, temperature: float, generator: torch.Generator) -> dict[int, Tensor]:
        """Draw a size for every gate, as factors on its rows, with the relaxed draw's gradient."""
        drawn = {}
        for place, logits_K in self.sizes.items():
            if place in self.fixed:
                drawn[place] = self._kept[place][self.fixed[place]]
                continue
            u_K = torch.rand(len(logits_K), generator=generator, dtype=torch.float64)
            noise_K = -torch.log(-torch.log(u_K.clamp(1e-7, 1 - 1e-7)))
            soft_K = ((logits_K + noise_K) / temperature).softmax(0)
            hard_K = torch.zeros_like(soft_K)
            hard_K[soft_K.argmax()] = 1.0
            drawn[place] = (hard_K + (soft_K - soft_K.detach())) @ self._kept[place]
        return drawn

    def learn_gates(self, z_A: Tensor, found: Gradients, factor: float) -> None:
        """Move the gates' logits along what a pass gave for the tosses."""
        self._step(0, [self.gates_A], lambda: torch.autograd.backward(z_A, found.gates), factor)

    def learn_sizes(self, rows: dict[int, Tensor], found: Gradients, factor: float) -> None:
        """Move the sizes' logits along what a pass gave for the rows."""

        def back() -> None:
            for place, row_R in rows.items():
                if row_R.requires_grad and place in found.rows:
                    torch.autograd.backward(row_R, found.rows[place])

        self._step(1, list(self.sizes.values()), back, factor)

    def _step(
        self, turn: int, parameters: list[nn.Parameter], back: Callable[[], None], factor: float
    ) -> None:
        optimizer = self._by_turn[turn]
        if optimizer is None:
            return
        optimizer.zero_grad()
        back()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.param_groups[0]["lr"] = self._rate * factor
        optimizer.step()

    def _adam(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer | None:
        if not parameters:
            return None
        return torch.optim.Adam(parameters, lr=self._rate, betas=(0.5, 0.999), weight_decay=1e-4)


def _rows_of(gate: Gate) -> Tensor:
    """Return for every size which rows it keeps, shape ``(K, R)``."""
    rows_R = torch.arange(gate.sizes[-1])
    return torch.stack([(rows_R < size).double() for size in gate.sizes])
