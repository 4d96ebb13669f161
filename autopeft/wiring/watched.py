"""Progress of what a strategy has prepared when it first needs it, after the baselines."""

import time
from collections.abc import Callable, Iterator, Sequence

from autopeft.ports import Inheritance, Structures
from autopeft.search_spaces.configuration import Configuration


class WatchedInheritance:
    """Wraps an inheritance: ``told`` hears how far it is prepared, which took ``seconds``."""

    def __init__(self, inner: Inheritance, told: Callable[[float], None]) -> None:
        self._inner = inner
        self._told = told
        self._prepared = False
        self.seconds = 0.0

    @property
    def problem(self) -> str:
        """Why there are no scores; empty while there are."""
        return self._inner.problem

    def prepare(self) -> Iterator[float]:
        """Train what is shared, or find it, yielding progress in [0, 1]."""
        began = time.monotonic()
        yield from _heard(self._inner.prepare(), self._told)
        self._prepared = True
        self.seconds += time.monotonic() - began

    def scores(self, configurations: Sequence[Configuration]) -> Iterator[float]:
        """Score each, having prepared what that takes."""
        if not self._prepared:
            for _ in self.prepare():
                pass
        scores = self._inner.scores(configurations)
        while True:
            began = time.monotonic()
            score = next(scores, None)
            self.seconds += time.monotonic() - began
            if score is None:
                return
            yield score


class WatchedStructures:
    """Wraps structures in the same way."""

    def __init__(self, inner: Structures, told: Callable[[float], None]) -> None:
        self._inner = inner
        self._told = told
        self.seconds = 0.0

    @property
    def problem(self) -> str:
        """Why there are none; empty while there are."""
        return self._inner.problem

    def prepare(self) -> Iterator[float]:
        """Search for them, or find them, yielding progress in [0, 1]."""
        began = time.monotonic()
        yield from _heard(self._inner.prepare(), self._told)
        self.seconds += time.monotonic() - began

    def chances(self) -> tuple[tuple[float, ...], ...]:
        """Return for every gene of the space the probability of each of its choices."""
        return self._inner.chances()

    def found(self) -> tuple[Configuration, ...]:
        """Return the structures that the search ended with, the best first."""
        return self._inner.found()


def _heard(progress: Iterator[float], told: Callable[[float], None]) -> Iterator[float]:
    for fraction in progress:
        told(fraction)
        yield fraction
