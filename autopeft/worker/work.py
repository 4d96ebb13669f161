"""A job that is being worked on: whether it may go on, how far it is, and what has happened."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from autopeft.errors import JobError, StoreError
from autopeft.service.event import Happening
from autopeft.service.job import Job, Progress, advanced
from autopeft.service.ports import Claim
from autopeft.worker.heartbeat import Heartbeat
from autopeft.worker.stops import LostError

logger = logging.getLogger(__name__)

WRITES_A_SECOND = 3.0
WRITES_AT_ONCE = 4.0
PROGRESS_EVERY = 1.0
READING = "reading"
"""The phase before the work has begun: a worker that is lost in it has lost nothing."""
_MOST_KEPT = 10_000


class Work:
    """What happens is written a few times a second at most, and kept while the store is away.

    ``outages`` counts how often the store, or the disk, has stopped the work.
    """

    def __init__(
        self, claim: Claim, heart: Heartbeat, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.heart = heart
        self.outages = 0
        self._claim = claim
        self._clock = clock
        self._began = clock()
        self._before = claim.job.progress.seconds
        self._progress = claim.job.progress
        self._changed = False
        self._advanced = False
        self._begun = claim.job.begun
        self._happenings: list[Happening] = []
        self._looked = self._written = self._began
        self._room = WRITES_AT_ONCE
        self._away: float | None = None

    @property
    def job(self) -> Job:
        """The job as it was when it was last read or written."""
        return self._claim.job

    @property
    def progress(self) -> Progress:
        """How far it is by now."""
        return replace(self._progress, seconds=self.seconds)

    @property
    def seconds(self) -> float:
        """What was spent over all runs."""
        return self._before + self.run_seconds

    @property
    def run_seconds(self) -> float:
        """What was spent since the job was claimed."""
        return self._clock() - self._began

    def look(self) -> None:
        """Go on, and write what is due.

        Raises:
            StopError: The work is to end.
        """
        self.heart.look()
        now = self._clock()
        self._room = min(
            WRITES_AT_ONCE, self._room + WRITES_A_SECOND * max(0.0, now - self._looked)
        )
        self._looked = now
        waited = self._changed and now - self._written >= PROGRESS_EVERY
        if (self._happenings or waited) and self._room >= 1:
            self._room -= 1
            self._written = now
            self._write()

    def tell(self, *happenings: Happening, advanced: bool = False) -> None:
        """Add to what has happened. What ``advanced`` the job clears it of its lost workers."""
        self._happenings += happenings
        self._advanced |= advanced
        del self._happenings[:-_MOST_KEPT]

    def say(self, message: str, **data: Any) -> None:
        """Tell something that is no change of a trial."""
        self.tell(Happening(kind="message", message=message, data=data))

    def warn(self, message: str) -> None:
        """Tell something that whoever waits for the job should know."""
        self.tell(Happening(kind="message", message=message, level="warning"))

    def away(self, seconds: float) -> None:
        """Tell that the store was away, and is back."""
        self.warn(f"the store could not be written for {seconds:.0f} s; the work went on")

    def now_at(self, phase: str, share: float = 0.0, **others: Any) -> None:
        """Note how far the work is; it has begun with the first phase after reading."""
        if phase != self._progress.phase:
            data = {"phase": phase}
            self.tell(Happening(kind="progress", message=_PHASES.get(phase, phase), data=data))
        self._progress = replace(self._progress, phase=phase, share=share, **others)
        self._begun |= phase != READING
        self._changed = True

    def end(self, change: Callable[[Job], Job], *happenings: Happening) -> None:
        """Change the job for good, with all that is left to be told.

        Raises:
            LostError: It is not ours any more.
            StoreError: It cannot be written; nothing is forgotten.
        """
        noted = self._noted()
        self._claimed(lambda job: change(noted(job)), *self._happenings, *happenings)
        self._happenings.clear()

    def release(self, *happenings: Happening) -> None:
        """Let go of the job, with all that is left to be told.

        Raises:
            LostError: It is not ours any more.
            StoreError: It cannot be written; nothing is forgotten.
        """
        self._claimed(self._noted(), *self._happenings)
        self._happenings.clear()
        try:
            self._claim.release(*happenings)
        except JobError as error:
            raise LostError(str(error)) from None

    def _write(self) -> None:
        """Write what has happened; a store that is away hears of it later."""
        told = tuple(self._happenings)
        try:
            self._claimed(self._noted(), *told)
        except StoreError as error:
            if self._away is None:
                logger.warning("%s: cannot write its progress: %s", self.job.id, error)
                self._away = self._clock()
            return
        del self._happenings[: len(told)]
        self._changed = self._advanced = False
        if self._away is not None:
            seconds, self._away = self._clock() - self._away, None
            self.away(seconds)

    def _noted(self) -> Callable[[Job], Job]:
        """Return the change of the job to how far it is by now."""
        progress, begun, gets_on = self.progress, self._begun, self._advanced

        def noted(job: Job) -> Job:
            job = replace(job, progress=progress, begun=begun)
            return advanced(job) if gets_on else job

        return noted

    def _claimed(self, change: Callable[[Job], Job], *happenings: Happening) -> None:
        try:
            self._claim.write(change, *happenings)
        except JobError as error:
            raise LostError(str(error)) from None


_PHASES = {
    READING: "reads model and data",
    "supernet": "trains the supernet that scores configurations",
    "scores": "scores configurations",
    "gates": "trains the gates that choose a structure",
    "trials": "runs trials",
    "finals": "trains the finalists with fresh seeds",
    "concluding": "compares the finalists",
    "training": "trains the plan",
    "measuring": "measures a step of training",
}
