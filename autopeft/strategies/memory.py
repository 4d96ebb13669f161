"""What a strategy knows: which proposals were made, and what has become of every trial.

All is keyed by a trial's number or a proposal's key, so it does not matter in which order trials
are told, how often, or whether a search was stopped in between.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from autopeft.objectives import ranks, worth
from autopeft.study import Study
from autopeft.trial import Proposal, Purpose, Trial

Point = tuple[float, ...]
Known = TypeVar("Known")


class Memory:
    """Remembers proposals and the latest that was told of each trial; finals teach nothing."""

    def __init__(self) -> None:
        self._all: set[Hashable] = set()
        self._own: dict[Any, Proposal] = {}
        self._ended: dict[int, Trial] = {}

    def remember(self, proposal: Proposal) -> None:
        """Note that something was proposed, by this strategy or as a baseline."""
        self._all.add(proposal.key)
        if proposal.purpose is Purpose.SEARCH:
            self._own[proposal.key] = proposal

    def tell(self, trial: Trial) -> None:
        """Note what was proposed, and what was measured if there is anything yet."""
        self.remember(trial.proposal)
        if trial.proposal.purpose is not Purpose.FINAL and (trial.ended or trial.latest):
            self._ended[trial.number] = trial

    def knows(self, proposal: Proposal) -> bool:
        """Whether this was proposed before."""
        return proposal.key in self._all

    @property
    def asked(self) -> int:
        """Count the strategy's own proposals."""
        return len(self._own)

    @property
    def own(self) -> list[Proposal]:
        """Return the strategy's own proposals, in the order in which it heard of them."""
        return list(self._own.values())

    @property
    def ended(self) -> list[Trial]:
        """Return by number the trials that were measured, at whatever fidelity, or failed."""
        return [self._ended[number] for number in sorted(self._ended)]

    @property
    def measured(self) -> list[Trial]:
        """Return by number the trials that have a score."""
        return [trial for trial in self.ended if has_score(trial)]

    @property
    def pending(self) -> list[Proposal]:
        """Return the strategy's own proposals of which nothing is known yet."""
        keys = {trial.proposal.key for trial in self._ended.values()}
        return [self._own[key] for key in sorted(self._own) if key not in keys]


def has_score(trial: Trial) -> bool:
    """Whether a number was measured: a training that ended in NaN teaches as much as a failure."""
    return trial.latest is not None and math.isfinite(trial.latest.score)


def lifted(study: Study, measured: Sequence[Trial]) -> list[Point]:
    """Return what each trial is worth in each objective, as if all had been trained to the end.

    To the score of a trial that pauses at a rung is added what others have gained from there on:
    for every further rung the mean difference over the trials that were measured at both. While
    none went on, nothing is added, and all are compared at the rung where they are. Those that went
    on are the best of their rung and had some luck there, so the rest is rather lifted too little.
    """
    gains, rest = {study.rungs[-1]: 0.0}, 0.0
    for low, high in reversed(list(zip(study.rungs, study.rungs[1:], strict=False))):
        pairs = [(trial.at(low), trial.at(high)) for trial in measured]
        found = [b.score - a.score for a, b in pairs if a and b and math.isfinite(a.score)]
        rest += sum(found) / len(found) if found else 0.0
        gains[low] = rest
    points = []
    for trial in measured:
        assert trial.latest is not None, "only what was measured can be lifted"
        score, *others = worth(study.objectives, trial.latest)
        points.append((score + gains.get(trial.latest.share, 0.0), *others))
    return points


def best_score(study: Study, measured: Sequence[Trial]) -> Trial | None:
    """Return the trial with the best score, as if all had been trained to the end."""
    scores = {
        t.number: point[0] for t, point in zip(measured, lifted(study, measured), strict=True)
    }
    return min(measured, key=lambda t: (-scores[t.number], t.number), default=None)


def places(points: Sequence[Point]) -> list[float]:
    """Return a number a point, lower for better ones: with one objective it is its negative.

    With several it is the non-dominated rank.
    """
    if points and len(points[0]) == 1:
        return [-point[0] for point in points]
    return list(map(float, ranks(points)))


def best_and_latest(
    known: Sequence[Known], place: Callable[[Sequence[Known]], Sequence[float]], most: int
) -> list[Known]:
    """Keep at most so many: the best, by the lowest places, and the latest, in their order.

    A model's time grows with what it holds. What is kept is a function of what is known alone. It
    grows by one at a time, and only every ``most / 2`` trials the earlier ones are sifted, so that
    who holds them need seldom begin anew.
    """
    count, half = len(known), most // 2
    if count <= most:
        return list(known)
    early = most + (count - most - 1) // half * half
    found = place(known[:early])
    best = sorted(range(early), key=lambda i: (found[i], i))[: half // 2]
    kept = sorted({*best, *range(early - half // 2, early)})
    return [known[i] for i in (*kept, *range(early, count))]
