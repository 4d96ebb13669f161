"""What a strategy has prepared when it first needs it: how far that is, and what it takes."""

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from autopeft.errors import OutputError
from autopeft.files import write_text
from autopeft.ports import Inheritance, Structures
from autopeft.search_spaces.configuration import Configuration

Event = TypeVar("Event")
_WRITTEN_EVERY = 5.0


class Watch:
    """Follows work that is done between trials.

    ``told`` hears how far a preparation is, ``scored`` how many configurations were scored so far.
    ``seconds`` is what all of it took. They are kept in a file from time to time, where one is
    named, so that those of a run that was killed count as well.
    """

    def __init__(
        self,
        told: Callable[[float], None] = lambda _: None,
        scored: Callable[[int], None] = lambda _: None,
        file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.told = told
        self.scored = scored
        self.seconds = _kept(file)
        self._file = file
        self._clock = clock
        self._written = self.seconds
        self._sign: Callable[[], None] = lambda: None

    @contextmanager
    def signing(self, sign: Callable[[], None]) -> Iterator[None]:
        """Call something after every bit of work in a ``with`` block: this process is alive."""
        before, self._sign = self._sign, sign
        try:
            yield
        finally:
            self._sign = before

    def over(self, events: Iterator[Event]) -> Generator[Event, None, None]:
        """Yield what comes, and count the seconds that it takes to come.

        What is not wanted to its end is closed: a training that is stopped keeps its state.
        """
        try:
            while True:
                began = self._clock()
                try:
                    event = next(events)
                except StopIteration:
                    return
                finally:
                    self._spend(self._clock() - began)
                self._sign()
                yield event
        finally:
            if isinstance(events, Generator):
                events.close()
            self._write()

    def _spend(self, seconds: float) -> None:
        self.seconds += seconds
        if self.seconds - self._written >= _WRITTEN_EVERY:
            self._write()

    def _write(self) -> None:
        if self._file is None or self.seconds == self._written:
            return
        with suppress(OSError, OutputError):  # what it costs is no reason to stop
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._file, f"{self.seconds!r}\n")
        self._written = self.seconds


class WatchedInheritance:
    """Wraps an inheritance, to be followed by a watch."""

    def __init__(self, inner: Inheritance, watch: Watch) -> None:
        self._inner = inner
        self._prepared = False
        self._scored = 0
        self.watch = watch

    @property
    def problem(self) -> str:
        """Why there are no scores; empty while there are."""
        return self._inner.problem

    @property
    def seconds(self) -> float:
        """What it took, in all runs of the study."""
        return self.watch.seconds

    def prepare(self) -> Iterator[float]:
        """Train what is shared, or find it, yielding progress in [0, 1]."""
        yield from _heard(self._inner.prepare(), self.watch)
        self._prepared = True

    def scores(self, configurations: Sequence[Configuration]) -> Iterator[float]:
        """Score each, having prepared what that takes."""
        if not self._prepared:
            for _ in self.prepare():
                pass
        for score in self.watch.over(self._inner.scores(configurations)):
            self._scored += 1
            self.watch.scored(self._scored)
            yield score


class WatchedStructures:
    """Wraps structures in the same way."""

    def __init__(self, inner: Structures, watch: Watch) -> None:
        self._inner = inner
        self.watch = watch

    @property
    def problem(self) -> str:
        """Why there are none; empty while there are."""
        return self._inner.problem

    @property
    def seconds(self) -> float:
        """What they took, in all runs of the study."""
        return self.watch.seconds

    def prepare(self) -> Iterator[float]:
        """Search for them, or find them, yielding progress in [0, 1]."""
        yield from _heard(self._inner.prepare(), self.watch)

    def chances(self) -> tuple[tuple[float, ...], ...]:
        """Return for every gene of the space the probability of each of its choices."""
        return self._inner.chances()

    def found(self) -> tuple[Configuration, ...]:
        """Return the structures that the search ended with, the best first."""
        return self._inner.found()


def _heard(progress: Iterator[float], watch: Watch) -> Iterator[float]:
    with closing(watch.over(progress)) as fractions:
        for fraction in fractions:
            watch.told(fraction)
            yield fraction


def _kept(file: Path | None) -> float:
    """Return the seconds of earlier runs; what cannot be read is none."""
    with suppress(OSError, ValueError):
        if file is not None and math.isfinite(known := float(file.read_text("utf-8"))):
            return max(0.0, known)
    return 0.0
