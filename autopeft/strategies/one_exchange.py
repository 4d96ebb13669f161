"""Climbing to where an acquisition is highest, one change of a candidate at a time.

As AutoPEFT does (Zhou et al. 2024, section 3.2), without what its code does otherwise: every
neighbour is one change away from where the climb stands, and not from the neighbour before it; and
what is returned is the end of the climb, not its start.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autopeft.strategies.candidates import Candidate, Candidates

Value = Callable[[Sequence[Candidate]], NDArray[np.float64]]
_NEIGHBOURS = 15
_TRIES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Climb:
    """Where to climb: what is looked at, what it is worth, and what is out of the question.

    ``restarts`` climbs begin beside the parents; each looks at ``evaluations`` candidates.
    """

    candidates: Candidates
    value: Value
    excluded: Callable[[Candidate], bool]
    restarts: int
    evaluations: int

    def best(self, parents: Sequence[Candidate], rng: np.random.Generator) -> Candidate | None:
        """Return the best candidate found, or None where nothing is left beside the parents."""
        drawn = (parents[int(rng.integers(len(parents)))] for _ in range(self.restarts))
        begun = [found for parent in drawn for found in self._beside(parent, rng, 1)]
        if not begun:
            return None
        places = list(zip(self.value(begun).tolist(), begun, strict=True))
        for _ in range(max(1, self.evaluations // _NEIGHBOURS)):
            groups = [self._beside(candidate, rng, _NEIGHBOURS) for _, candidate in places]
            found = [candidate for group in groups for candidate in group]
            if not found:
                break
            values = iter(self.value(found).tolist())
            places = [
                max([place, *((next(values), other) for other in group)], key=_worth)
                for place, group in zip(places, groups, strict=True)
            ]
        return max(places, key=_worth)[1]

    def _beside(self, parent: Candidate, rng: np.random.Generator, count: int) -> list[Candidate]:
        """Draw up to so many different neighbours."""
        found: dict[Hashable, Candidate] = {}
        for _ in range(_TRIES * count):
            near = self.candidates.beside(parent, rng)
            if near is not None and not self.excluded(near):
                found[near.key] = near
            if len(found) == count:
                break
        return list(found.values())


def _worth(place: tuple[float, Candidate]) -> float:
    return place[0]
