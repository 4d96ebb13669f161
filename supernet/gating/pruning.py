"""BIPEFT's search: gates and sizes in turn, pruned to the budget (Chang et al. 2024, EMNLP).

Every cell is in the backbone at its largest size. A step tosses a coin for each gate (hard Gumbel
softmax) and draws one of its sizes in the same way; weights learn from one half of the training
data, and from the other in turn the gates' logits and the sizes' logits. The temperature falls from
5 to 1. A gate is as sensitive as the moving average of abs(move · gradient) over what it trains, on
both halves.

The most sensitive gates that the budget holds are a *set*. When the latest five sets are alike,
pruning begins: at every step its share of what is over the budget goes, the least sensitive first.
It begins in time to end at or below the budget in any case. Sizes are fixed when the latest five
choices of them are alike, or half-way through the pruning.

The released code was not to be had in full: how it joins both sensitivities, and what its small L1
term weighs, are not taken from it (here: the geometric mean, and none).

Axes: A gates, K sizes of a gate, R rows of its largest size.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autopeft.supernet.gating.ground import Bench, Ground, Outcome, falling
from autopeft.supernet.gating.options import BipeftOptions
from autopeft.supernet.gating.shifted import probabilities
from autopeft.supernet.gating.structures import Filling, Gate, chances_of, gates_of
from autopeft.supernet.gating.tossing import Logits
from autopeft.training.batches import Batch

_HOT, _COLD = 5.0, 1.0
_DECAY = 0.85
_LATEST = 5
_LEAST = 1e-30

Flags = NDArray[np.bool_]
Numbers = NDArray[np.float64]


def search_by_pruning(ground: Ground, options: BipeftOptions) -> Iterator[float | Outcome]:
    """Search a space, yielding progress in [0, 1] and at last what was found.

    Raises:
        DivergedError: The loss became infinite or no number.
        SpaceError: The space cannot be searched like this.
    """
    gates = gates_of(ground.space, "bipeft", sized=True)
    left = Left(gates, ground.ceiling)
    logits = Logits(gates, options.rate)
    with ground.prepared(gates) as bench:
        search = _Search(bench, logits, left, options)
        for step in range(1, ground.whole + 1):
            search.step(step, ground.whole)
            yield step / ground.whole
            if search.over:
                break
    yield _outcome(ground, left, logits, gates, search.expected)


class Left:
    """Which gates are left, how sensitive they are, and what has to go yet."""

    def __init__(self, gates: Sequence[Gate], budget: int) -> None:
        self._gates = gates
        self._budget = budget
        self.free: Flags = np.array([gate.free for gate in gates], dtype=bool)
        self.flags: Flags = np.ones(len(gates), dtype=bool)
        self._averages = [np.zeros(len(gates)), np.zeros(len(gates))]
        self._due = 0.0

    def sizes(self, logits: Logits) -> Numbers:
        """Return the expected size of every gate that is on."""
        return np.array([
            sum(share * cost for share, cost in zip(logits.shares(i), gate.costs, strict=True))
            for i, gate in enumerate(self._gates)
        ])  # fmt: skip

    def expected(self, logits: Logits) -> float:
        """Return the expected size of what is left."""
        return float(self.sizes(logits)[self.flags].sum())

    @property
    def sensitivity(self) -> Numbers:
        """How sensitive each gate is: the geometric mean of both halves."""
        one, other = self._averages
        return np.sqrt(one * other)

    def feel(self, half: int, found_A: Tensor) -> None:
        """Take what a pass on a half of the data has shown into the moving average."""
        average = self._averages[half]
        average[:] = _DECAY * average + (1 - _DECAY) * found_A.numpy()

    def within_budget(self, logits: Logits) -> Flags:
        """Return the most sensitive gates that fit; what does not fit is skipped."""
        sizes, chosen = self.sizes(logits), np.zeros(len(self.flags), dtype=bool)
        room = self._budget - sizes[~self.free].sum()
        for place in np.argsort(-self.sensitivity, kind="stable"):
            if self.flags[place] and self.free[place] and sizes[place] <= room:
                chosen[place] = True
                room -= sizes[place]
        return chosen

    def prune(self, logits: Logits, steps_left: int) -> None:
        """Remove the share of this step; at the last step all that is over the budget."""
        sizes = self.sizes(logits)
        over = float(sizes[self.flags].sum()) - self._budget
        self._due += max(0.0, over) / max(1, steps_left)
        while over > 0 and (place := self._weakest()) is not None:
            if steps_left > 1 and self._due < sizes[place]:
                return
            self.flags[place] = False
            self._due -= sizes[place]
            over -= sizes[place]

    def chances(self, logits: Logits) -> dict[int, float]:
        """Return the probability of each gate to be on, such that the expected size is the budget.

        By the logarithm of the sensitivities, in units of their spread.
        """
        sizes, free = self.sizes(logits), np.flatnonzero(self.free)
        on = dict.fromkeys(range(len(self.free)), 1.0)
        if len(free):
            felt = np.log(self.sensitivity[free] + _LEAST)
            logits_A = torch.from_numpy((felt - felt.mean()) / (felt.std() or 1.0))
            budget = float(self._budget - sizes[~self.free].sum())
            p_A = probabilities(logits_A, torch.from_numpy(sizes[free]), budget)
            on |= dict(zip(free.tolist(), p_A.tolist(), strict=True))
        return on

    def _weakest(self) -> int | None:
        places = np.flatnonzero(self.flags & self.free)
        return int(places[np.argmin(self.sensitivity[places])]) if len(places) else None


@dataclass(slots=True, kw_only=True)
class Alike:
    """The latest sets, and whether they are alike by now."""

    least: float
    sets: deque[Flags] = field(default_factory=lambda: deque(maxlen=_LATEST))

    def saw(self, chosen: Flags) -> bool:
        """Take a set in; tell whether any two of the latest five have at least that cosine."""
        self.sets.append(chosen.copy())
        if len(self.sets) < _LATEST:
            return False
        return all(_cosine(a, b) >= self.least for a in self.sets for b in self.sets)


def _cosine(a: Flags, b: Flags) -> float:
    norm = math.sqrt(a.sum() * b.sum())
    return float((a & b).sum()) / norm if norm else float(a.sum() == b.sum())


class _Search:
    """One step after the other: logits, weights, sensitivities, pruning."""

    def __init__(self, bench: Bench, logits: Logits, left: Left, options: BipeftOptions) -> None:
        self._bench = bench
        self._logits = logits
        self._left = left
        self._options = options
        self._sets = Alike(least=options.similarity)
        self._choices = Alike(least=options.similarity)
        self._pruned_by: int | None = None
        self.expected: list[float] = []
        self.over = False

    def step(self, step: int, whole: int) -> None:
        bench, left = self._bench, self._left
        warmed = step > min(bench.epoch, whole // 3)
        heat = _HOT + (_COLD - _HOT) * (step - 1) / max(1, whole - 1)
        other = next(bench.for_gates)
        self._pass(other, heat, 1, turn=step % 2 if warmed else None, factor=falling(step, whole))
        self._pass(next(bench.for_weights), heat, 0)
        bench.step(step, whole)
        if warmed:
            self._settle(step, whole)
        self.expected.append(left.expected(self._logits))

    def _pass(
        self, batch: Batch, heat: float, half: int, turn: int | None = None, factor: float = 0.0
    ) -> None:
        """Go through a batch of a half with fresh tosses; move the logits whose turn it is."""
        bench, logits, left = self._bench, self._logits, self._left
        z_A, rows = logits.toss(heat, bench.generator), logits.draw(heat, bench.generator)
        on_A = torch.from_numpy(left.flags).double()
        held_A = torch.from_numpy(~left.free)
        there_A = torch.where(held_A, torch.ones_like(on_A), z_A * on_A)
        shown = {place: row_R.detach() for place, row_R in rows.items()}
        found = bench.gated.gradients(batch, there_A.detach(), shown)
        left.feel(half, bench.gated.sensitivities())
        if turn is None:
            return
        if turn == 1 and logits.sizes and not logits.fixed:
            logits.learn_sizes(rows, found, factor)
        else:
            logits.learn_gates(there_A, found, factor)

    def _settle(self, step: int, whole: int) -> None:
        """Fix the sizes, begin to prune or go on with it, and see whether all is decided."""
        logits, left = self._logits, self._left
        spread = min(self._options.prune_steps, max(1, whole // 2))
        if self._sets.saw(left.within_budget(logits)) or step > whole - spread:
            self._pruned_by = self._pruned_by or min(whole, step + spread - 1)
        if logits.sizes and not logits.fixed:
            half_way = self._pruned_by is not None and step >= self._pruned_by - spread // 2
            if self._choices.saw(self._chosen()) or half_way:
                logits.fix()
        if self._pruned_by is not None:
            left.prune(logits, max(1, self._pruned_by - step + 1))
            self.over = step >= self._pruned_by

    def _chosen(self) -> Flags:
        """Return the likeliest sizes as flags, one of them set for each gate that is left."""
        flags = []
        for place, logits_K in self._logits.sizes.items():
            on = bool(self._left.flags[place])
            likeliest = self._logits.likeliest(place)
            flags += [on and k == likeliest for k in range(len(logits_K))]
        return np.array(flags, dtype=bool)


def _outcome(
    ground: Ground, left: Left, logits: Logits, gates: Sequence[Gate], expected: list[float]
) -> Outcome:
    """Return what is left at its likeliest sizes; chances follow from the sensitivities."""
    space, likely = ground.space, {}
    for place, present in left.chances(logits).items():
        likely[gates[place]] = tuple(present * share for share in logits.shares(place))
    order = sorted(np.flatnonzero(left.flags).tolist(), key=lambda place: -left.sensitivity[place])
    wanted = [(gates[p], gates[p].choices[logits.likeliest(p)]) for p in order]
    smaller = [(gate, c) for gate, top in wanted for c in reversed(gate.choices) if c < top]
    genome = Filling(space, ground.ceiling).put_in([*wanted, *smaller])
    structure = space.decode(genome)
    fits = 0 < structure.parameters(space.slots) <= ground.ceiling
    return Outcome(
        chances=chances_of(space, likely),
        found=(structure,) if fits else (),
        expected=tuple(expected),
        moved=float(logits.gates_A.detach().abs().max()),
    )
