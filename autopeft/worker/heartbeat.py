"""Signs of life of a job that is held, from a thread of its own, and what they bring back."""

import _thread
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from autopeft.errors import JobError, StoreError
from autopeft.service.job import JobState
from autopeft.service.ports import Claim
from autopeft.worker.stops import (
    ExtendedError,
    LostError,
    ShutdownError,
    SlowError,
    StopError,
    WishError,
)

logger = logging.getLogger(__name__)

BEAT_EVERY = 2.0
_GLANCE_EVERY = 0.25
_PATIENCE = 5.0
"""Seconds that work may take to see for itself that it is to stop, before it is interrupted."""


class Heartbeat:
    """Beats while a ``with`` block lasts; `look` raises what has come up in the meantime.

    With ``every`` 0 it beats at each look, and has no thread. ``sign`` is called after a beat.

    Work looks whenever it can. What cannot, such as the loading of a model, is interrupted as by
    Ctrl-C, within `interruptible` alone and only if ``main`` says that it runs in the main thread.
    """

    def __init__(
        self,
        claim: Claim,
        stopping: Callable[[], bool],
        *,
        sign: Callable[[], None] = lambda: None,
        every: float = BEAT_EVERY,
        patience: float = _PATIENCE,
        main: bool = False,
    ) -> None:
        self._claim = claim
        self._stopping = stopping
        self._signs = sign
        self._every = every
        self._patience = patience
        self._main = main
        self._job = claim.job
        self._limits = claim.job.request.get("limits")
        self._lost = ""
        self._until: float | None = None
        self._over = threading.Event()
        self._interruptible = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        if self._every:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._every:
            self._thread.join(self._every)

    def look(self) -> None:
        """Return if the work may go on.

        Raises:
            StopError: It may not, and why.
        """
        if not self._every:
            self._sign()
        if (reason := self.reason()) is not None:
            raise reason

    def reason(self) -> StopError | None:
        """Say why the work may not go on; None while it may."""
        if self._lost:
            return LostError(self._lost)
        if self._stopping():
            return ShutdownError("the worker is shutting down")
        job = self._job
        if job.state in {JobState.PAUSING, JobState.CANCELLING}:
            return WishError(f"{job.kind} {job.id} is {job.state}")
        if job.request.get("limits") != self._limits:
            return ExtendedError(f"{job.kind} {job.id} has other limits")
        return None

    def extended(self) -> None:
        """Take the job's new limits for those that it runs with."""
        self._sign()
        self._limits = self._job.request.get("limits")

    @contextmanager
    def interruptible(self, most: float | None = None) -> Iterator[None]:
        """Interrupt the main thread in this ``with`` block when it is to stop and does not look.

        Raises:
            SlowError: The block takes longer than ``most`` seconds.
        """
        self._until = None if most is None else time.monotonic() + most
        self._interruptible.set()
        try:
            yield
        except KeyboardInterrupt:
            if most is None or self._until is not None:
                raise
            raise SlowError(f"this takes longer than {most:g} seconds") from None
        finally:
            self._interruptible.clear()
            self._until = None

    def _beat(self) -> None:
        beaten, since = time.monotonic(), None
        while not self._over.wait(min(_GLANCE_EVERY, self._every)):
            now = time.monotonic()
            if now - beaten >= self._every and not self._lost:
                self._sign()
                beaten = now
            if self._until is not None and now >= self._until and self._main:
                self._until = None
                self._interrupt()
            since = (since or now) if self.reason() else None
            if since and now - since > self._patience and self._main:
                self._interrupt()
                since = None

    def _sign(self) -> None:
        try:
            job = self._claim.beat()
            self._signs()
        except JobError as error:
            self._lost = str(error)
        except StoreError as error:
            logger.warning("no sign of life could be given: %s", error)
        else:
            self._job = job
            if not (job.state.held or job.state is JobState.VALIDATING):
                self._lost = f"{job.kind} {job.id} is {job.state}"

    def _interrupt(self) -> None:
        if not self._interruptible.is_set() or self._over.is_set():
            return
        if os.name == "posix":  # a real signal, which also ends a call that waits
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        else:
            _thread.interrupt_main()
