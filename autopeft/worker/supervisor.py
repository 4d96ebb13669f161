"""Keeps worker processes: starts one where there is work, again where one has died.

A supervisor is light, so that an idle service needs little memory: torch is loaded by the lanes,
which end when they have had nothing to do for a while. No lane outlives its supervisor: each holds
the reading end of a pipe, which closes however the supervisor ends.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from autopeft.errors import StoreError
from autopeft.service.job import Lane
from autopeft.service.ports import Jobs
from autopeft.settings import ServiceSettings
from autopeft.wiring.sockets import service_of
from autopeft.worker.stopping import Stopping

logger = logging.getLogger(__name__)

LANES = (Lane.CHECKS, Lane.CHECKS, Lane.RUNS)
"""Two for checks: of short work, what takes longest is not to hold up all others."""
GRACE = 30.0
"""Seconds in which a lane puts down what it is doing when it is told to stop."""
_LOOK_EVERY = 0.3
_SIGN_EVERY = 5.0
_BESIDE = {Lane.CHECKS: 10.0, Lane.RUNS: 3.0}
"""Seconds that work waits for the processes that serve its lane before another one is started."""
_WAITS = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
_STEADY = 10.0


def supervise(
    store_url: str,
    lanes: Sequence[Lane],
    service: ServiceSettings,
    *,
    tied: bool = False,
    stopping: Stopping | None = None,
) -> int:
    """Keep a process for each of the lanes until told to stop, and return the exit code.

    A lane that is named twice has two processes, which share its work. ``tied`` ends this process
    when its standard input closes.

    Raises:
        StoreError: The store cannot be opened.
    """
    stopping = stopping or Stopping()
    if threading.current_thread() is threading.main_thread():
        stopping.on_signals(signal.SIGTERM, signal.SIGINT)
    if tied:
        stopping.with_parent(GRACE + 5)
    environment = environment_of(store_url, service)
    berths = [_Berth(lane, number, environment) for number, lane in enumerate(lanes)]
    with service_of(store_url).closing() as opened:
        since: dict[Lane, float] = {}
        try:
            while not stopping():
                _tend(berths, opened.jobs, since)
                time.sleep(_LOOK_EVERY)
        finally:
            _end(berths, opened.jobs)
    return 0


def environment_of(store_url: str, service: ServiceSettings) -> dict[str, str]:
    """Return the environment of a worker process: where the store is, and all settings.

    Not the command line, which every user of a machine can read: there may be a password in it.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != "AUTOPEFT_KEY" and not name.startswith("AUTOPEFT_SERVICE")
    }
    return {**kept, "AUTOPEFT_STORE": store_url, "AUTOPEFT_SERVICE": service.model_dump_json()}


def command_of(lane: Lane, name: str) -> list[str]:
    """Return the command line of a lane's process."""
    return [sys.executable, "-m", "autopeft.worker", "--only", lane, "--name", name, "--tied"]


class _Berth:
    """The place of one lane process."""

    def __init__(self, lane: Lane, number: int, environment: Mapping[str, str]) -> None:
        self.lane = lane
        self.name = f"{socket.gethostname()}-{os.getpid()}-{lane}-{number}"
        self.started = 0.0
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._failures = 0
        self._again = 0.0
        self._signed = -_SIGN_EVERY

    @property
    def lives(self) -> bool:
        """Whether a process is there; one that has ended is noted."""
        if self._process is not None and (code := self._process.poll()) is not None:
            self._note(code)
            self._process = None
        return self._process is not None

    @property
    def ready(self) -> bool:
        """Whether a process may be started, which one that fails at once may not be at once."""
        return not self.lives and time.monotonic() >= self._again

    def start(self) -> None:
        """Start the process, in a group of its own: signals reach it through here alone."""
        self.started = time.monotonic()
        self._process = subprocess.Popen(
            command_of(self.lane, self.name),
            stdin=subprocess.PIPE,
            env=dict(self._environment),
            start_new_session=True,
        )
        logger.info("lane %s begins in process %d", self.name, self._process.pid)

    def sign(self, jobs: Jobs) -> None:
        """Say that the lane is served; a process that lives does so itself."""
        if not self.lives and time.monotonic() - self._signed >= _SIGN_EVERY:
            jobs.sign(self.lane, self.name)
            self._signed = time.monotonic()

    def sign_off(self, jobs: Jobs) -> None:
        """Say that the lane is no longer served from here."""
        with suppress(StoreError):  # it is forgotten after a while
            jobs.sign_off(self.name)

    def tell_to_stop(self) -> None:
        """Tell the process to put down what it is doing."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.terminate()

    def await_end(self, until: float) -> None:
        """Wait for the process, then kill it with all that it has started."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            logger.warning("lane %s does not stop and is killed", self.name)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _note(self, code: int) -> None:
        """Remember how the process ended; what it has left behind is swept away."""
        assert self._process is not None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        lived = time.monotonic() - self.started
        killed = code in {-signal.SIGKILL, -signal.SIGTERM}
        self._failures = 0 if code == 0 or killed or lived > _STEADY else self._failures + 1
        self._again = time.monotonic() + _WAITS[min(self._failures, len(_WAITS) - 1)]
        log = logger.info if code == 0 else logger.warning
        log("lane %s has ended after %.0f s with code %d", self.name, lived, code)


def _tend(berths: Sequence[_Berth], jobs: Jobs, since: dict[Lane, float]) -> None:
    """Start what is missing where there is work; ``since`` notes from when on a lane's work waits.

    Where a lane is served already, the work has to wait for a while before a process is added.
    """
    try:
        for lane in {berth.lane: None for berth in berths}:
            free = [berth for berth in berths if berth.lane is lane and not berth.lives]
            for berth in free:
                berth.sign(jobs)
            ready = next((berth for berth in free if berth.ready), None)
            if ready is None or not jobs.waiting(lane):
                since.pop(lane, None)
                continue
            others = [berth.started for berth in berths if berth.lane is lane and berth.lives]
            now = time.monotonic()
            latest = max((since.setdefault(lane, now), *others))
            if not others or now - latest >= _BESIDE[lane]:
                ready.start()
                since.pop(lane, None)
    except StoreError as error:
        logger.warning("cannot look for work: %s", error)
        time.sleep(_LOOK_EVERY)


def _end(berths: Sequence[_Berth], jobs: Jobs) -> None:
    for berth in berths:
        berth.tell_to_stop()
    until = time.monotonic() + GRACE
    for berth in sorted(berths, key=lambda berth: berth.lives):  # nobody waits for the idle ones
        berth.await_end(until)
        berth.sign_off(jobs)
