"""S3PET's search: weights and gates are trained in turn (Hu et al. 2022, arXiv 2206.07382).

Every cell is in the backbone at once, weighed by a relaxed coin toss whose probability comes from
a shifted global sigmoid: the expected size is the budget at every step. Weights learn from one half
of the training data, gates from the other. In the second order a gate's gradient is that at the
weights after their next step (DARTS; Liu et al. 2019, arXiv 1806.09055, equations 7 and 8):

    dL(w')/da - [dL(w + e d)/da - dL(w - e d)/da] / 2e        w' = w - step, d = rate · dL(w')/dw

the first two on the gates' half, the last on the weights'. Where methods have rates of their own,
d has them too. At the end the likeliest cells are taken in turn; what does not fit is skipped.

Axes: G free gates, A all gates.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autopeft.supernet.gating.gates import Gradients
from autopeft.supernet.gating.ground import CLIP, Bench, Ground, Outcome, falling
from autopeft.supernet.gating.options import S3petOptions
from autopeft.supernet.gating.shifted import concrete, probabilities
from autopeft.supernet.gating.structures import Filling, Gate, chances_of, gates_of
from autopeft.training.batches import Batch

_REACH = 0.01  # how far the finite difference goes from the weights


def search_gates(ground: Ground, options: S3petOptions) -> Iterator[float | Outcome]:
    """Search a space, yielding progress in [0, 1] and at last what was found.

    Raises:
        DivergedError: The loss became infinite or no number.
        SpaceError: The space cannot be searched like this.
    """
    gates = gates_of(ground.space, "s3pet", sized=False)
    logits = _Logits(ground, options, gates)
    if not logits.decided:
        with ground.prepared(gates) as bench:
            search = _Search(bench, logits, options)
            for step in range(1, ground.whole + 1):
                search.step(step, ground.whole)
                yield step / ground.whole
    yield logits.outcome()


class _Logits:
    """The logits of the gates that can be off, and the probabilities that follow from them."""

    def __init__(self, ground: Ground, options: S3petOptions, gates: tuple[Gate, ...]) -> None:
        self._ground = ground
        self._gates = gates
        self._temperature = options.temperature
        self._free = [place for place, gate in enumerate(gates) if gate.free]
        costs = [gates[place].costs[0] for place in self._free]
        self._costs_G = torch.tensor(costs, dtype=torch.float64)
        self._budget = ground.ceiling - sum(gate.costs[0] for gate in gates if not gate.free)
        self.values_G = nn.Parameter(torch.zeros(len(costs), dtype=torch.float64))
        self.expected: list[float] = []

    @property
    def decided(self) -> bool:
        """Whether there is nothing to search: everything fits, or nothing beside what must be."""
        least = float(self._costs_G.min()) if len(self._costs_G) else 0.0
        return not len(self._costs_G) or not least <= self._budget < float(self._costs_G.sum())

    def probabilities(self) -> Tensor:
        """Return those of the free gates, with their gradient."""
        return probabilities(self.values_G, self._costs_G, self._budget, self._temperature)

    def spread(self, z_G: Tensor) -> Tensor:
        """Return the factors of all gates, those that cannot be off being 1."""
        z_A = torch.ones(len(self._gates), dtype=torch.float64)
        z_A[self._free] = z_G.detach()
        return z_A

    def gathered(self, gradient_A: Tensor) -> Tensor:
        """Return of all gates' gradients those of the free ones."""
        return gradient_A[self._free]

    def note(self) -> None:
        """Remember the expected size."""
        self.expected.append(self._fixed + float(self._costs_G @ self.probabilities().detach()))

    @property
    def _fixed(self) -> int:
        return self._ground.ceiling - self._budget

    def outcome(self) -> Outcome:
        """Take the likeliest cells that fit."""
        p_G = self.probabilities().detach()
        space, likely = self._ground.space, dict.fromkeys(self._gates, (1.0,))
        for place, p in zip(self._free, p_G.tolist(), strict=True):
            likely[self._gates[place]] = (p,)
        ranked = sorted(range(len(self._free)), key=lambda index: -float(p_G[index]))
        order = [self._gates[self._free[index]] for index in ranked]
        genome = Filling(space, self._ground.ceiling).put_in((g, g.choices[0]) for g in order)
        structure = space.decode(genome)
        fits = 0 < structure.parameters(space.slots) <= self._ground.ceiling
        return Outcome(
            chances=chances_of(space, likely),
            found=(structure,) if fits else (),
            expected=tuple(self.expected),
            moved=float(self.values_G.detach().abs().max()) if self._free else 0.0,
        )


@dataclass(frozen=True, slots=True)
class _Kept:
    """Weights and optimizer as they were."""

    weights: list[Tensor]
    optimizer: dict[str, object]


class _Search:
    """One step after the other: first the gates, then the weights."""

    def __init__(self, bench: Bench, logits: _Logits, options: S3petOptions) -> None:
        self._bench = bench
        self._logits = logits
        self._order = options.order
        self._rate = options.rate
        self._optimizer = torch.optim.AdamW([logits.values_G], lr=options.rate, weight_decay=0.0)

    def step(self, step: int, whole: int) -> None:
        bench, logits = self._bench, self._logits
        batch, other = next(bench.for_weights), next(bench.for_gates)
        count = len(logits.values_G)
        u_G = torch.rand(count, generator=bench.generator, dtype=torch.float64)
        z_G = concrete(logits.probabilities(), u_G)
        bench.set_rates(step, whole)
        ahead = self._looking_ahead if self._order == 2 else self._here
        self._move_gates(z_G, ahead(batch, other, logits.spread(z_G)), falling(step, whole))
        z_G = concrete(logits.probabilities(), u_G)  # the same coin in the whole step
        bench.gated.gradients(batch, logits.spread(z_G))
        bench.step(step, whole)
        logits.note()

    def _move_gates(self, z_G: Tensor, gradient_A: Tensor, factor: float) -> None:
        self._optimizer.zero_grad()
        torch.autograd.backward(z_G, self._logits.gathered(gradient_A))
        torch.nn.utils.clip_grad_norm_([self._logits.values_G], CLIP)
        self._optimizer.param_groups[0]["lr"] = self._rate * factor
        self._optimizer.step()

    def _here(self, _batch: Batch, other: Batch, z_A: Tensor) -> Tensor:
        """Return the gates' gradient at the weights as they are."""
        return self._bench.gated.gradients(other, z_A).gates

    def _looking_ahead(self, batch: Batch, other: Batch, z_A: Tensor) -> Tensor:
        """Return the gates' gradient at the weights as they will be after a step."""
        gated, optimizer = self._bench.gated, self._bench.optimizer
        kept = self._keep()
        gated.gradients(batch, z_A)
        torch.nn.utils.clip_grad_norm_(gated.weights, CLIP)
        optimizer.step()
        ahead: Gradients = gated.gradients(other, z_A)
        direction = self._direction()
        self._put_back(kept)
        norm = float(torch.stack([d.norm() for d in direction]).norm())
        if norm == 0:
            return ahead.gates
        reach = _REACH / norm
        sides, dropped = [], torch.get_rng_state()
        for sign in (1.0, -1.0):
            torch.set_rng_state(dropped)  # the same dropout on both sides, or it would be all
            self._put_back(kept, direction, sign * reach)
            sides.append(gated.gradients(batch, z_A).gates)
        self._put_back(kept)
        return ahead.gates - (sides[0] - sides[1]) / (2 * reach)

    def _direction(self) -> list[Tensor]:
        """Return rate times gradient of every weight, in the order of ``weights``."""
        rates = {
            id(parameter): group["lr"]
            for group in self._bench.optimizer.param_groups
            for parameter in group["params"]
        }
        return [
            torch.zeros_like(p) if p.grad is None else rates[id(p)] * p.grad
            for p in self._bench.gated.weights
        ]

    def _keep(self) -> _Kept:
        weights = [parameter.detach().clone() for parameter in self._bench.gated.weights]
        return _Kept(weights, deepcopy(self._bench.optimizer.state_dict()))

    def _put_back(
        self, kept: _Kept, direction: list[Tensor] | None = None, by: float = 0.0
    ) -> None:
        """Put the weights where they were, or somewhat beside; the optimizer only to where it was.

        A deep copy each time, because an optimizer goes on writing into what it has loaded.
        """
        for place, (parameter, was) in enumerate(
            zip(self._bench.gated.weights, kept.weights, strict=True)
        ):
            parameter.data.copy_(was if direction is None else was + by * direction[place])
        if direction is None:
            self._bench.optimizer.load_state_dict(deepcopy(kept.optimizer))
