"""The rules by which one process at a time runs a study."""

from collections.abc import Callable
from dataclasses import dataclass

from autopeft.errors import StudyError
from autopeft.storage.processes import Process

LOST_AFTER = 120.0
"""Seconds without a sign of life after which a study of another machine may be taken over."""
RENEW_EVERY = 10.0
"""Seconds between two signs of life that are written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who runs a study: one ``with`` block of one process, and its last sign of life.

    ``heartbeat`` is in seconds since the epoch.
    """

    token: str
    process: Process
    heartbeat: float


def refuse_if_held(study_id: str, holder: Holder | None, asking: Process, now: float) -> None:
    """Let a process take a study that nobody holds, or whose holder is lost.

    A holder of the same process is one that was abandoned, such as in a notebook.

    Raises:
        StudyError: Another process holds it, and lives or may live.
    """
    if holder is None:
        return
    process, silence = holder.process, max(0.0, now - holder.heartbeat)
    if process.seen_from(asking):  # then whether it lives is known, however long it is silent
        if process.pid == asking.pid or not process.lives:
            return
    elif silence > LOST_AFTER:
        return
    raise StudyError(
        f"study {study_id} is being run by process {process.pid} on host {process.host} "
        f"(last sign of life {silence:.0f} s ago): wait for it, stop it, or use another --store"
    )


class HeldLease:
    """A study that is held. ``beat`` writes a sign of life and says whether it is still held."""

    def __init__(
        self, study_id: str, *, clock: Callable[[], float], beat: Callable[[float], bool]
    ) -> None:
        self._study_id = study_id
        self._clock = clock
        self._beat = beat
        self._written = clock()

    def renew(self) -> None:
        """Write a sign of life, unless one was written in the last ten seconds.

        Raises:
            StudyError: Another process has taken the study over.
        """
        now = self._clock()
        if abs(now - self._written) < RENEW_EVERY:
            return
        if not self._beat(now):
            raise StudyError(
                f"study {self._study_id} was taken over by another process, which goes on from "
                "what is stored: leave it to that one, or stop it and run the same command again"
            )
        self._written = now
