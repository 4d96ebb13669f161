"""Whether there is time left for another trial."""

from collections.abc import Callable

from autopeft.study import Limits
from autopeft.trial import Trial

_LATEST = 3


class Clock:
    """Tells whether there is time left, by how long trials have taken so far."""

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        self._now = now
        self._half = (limits.seconds or 0.0) / 2
        self._end = None if limits.seconds is None else now() + limits.seconds
        self._runs: list[tuple[float, float]] = []

    def saw(self, trial: Trial) -> None:
        """Learn how long a trial took, or the part of it that was trained this time."""
        if trial.measurement:
            before = trial.rungs[-1].share if trial.rungs else 0.0
            self._runs.append((trial.measurement.share - before, trial.measurement.seconds))

    def has_room(self, trials: int, *, later: int = 0) -> bool:
        """Whether so many more whole trainings would end in time; the first is always tried.

        They are taken to last as long as the longest of the latest: costs differ between
        configurations, and a busy machine becomes slower. Time is kept for as many ``later`` ones;
        at most half of all as long as the first run is among those latest, because it is often
        slower than any after it.
        """
        if self._end is None:
            return True
        runs = self._whole()
        each = max(runs[-_LATEST:], default=0.0)
        kept = later * each if len(runs) > _LATEST else min(later * each, self._half)
        return self._now() + trials * each + kept < self._end

    def _whole(self) -> list[float]:
        """Return how long each run would have taken for a whole training.

        Scoring takes as long after a short part as after a long one: half of the shortest run is
        taken to be that.
        """
        around = min((seconds for part, seconds in self._runs if part < 1), default=0.0) / 2
        return [(seconds - around) / part + around for part, seconds in self._runs]
