"""How a worker process learns that it is to stop: by a signal, or because its parent is gone."""

import os
import signal
import sys
import threading
import time
from types import FrameType


class Stopping:
    """Becomes true once, for good; calling it asks whether it has."""

    def __init__(self) -> None:
        self._asked = False

    def __call__(self) -> bool:
        """Whether this process is to stop."""
        return self._asked

    def ask(self) -> None:
        """Ask for it."""
        self._asked = True

    def on_signals(self, *signals: signal.Signals) -> None:
        """Take these signals for the wish to stop; only in the main thread of a process."""
        for each in signals:
            signal.signal(each, self._heard)

    def with_parent(self, grace: float) -> None:
        """Stop when standard input closes, which it does however the parent has ended.

        Whoever is not gone after ``grace`` seconds is killed with all that it has started.
        """
        thread = threading.Thread(target=self._tied, args=(grace,), name="parent", daemon=True)
        thread.start()

    def _heard(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._asked = True

    def _tied(self, grace: float) -> None:
        while os.read(sys.stdin.fileno(), 1024):
            pass
        self._asked = True
        time.sleep(grace)
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)
