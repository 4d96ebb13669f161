"""Between two threads: one drives machines, the other owns the study."""

from collections.abc import Iterator
from enum import Enum, auto
from queue import SimpleQueue
from threading import Event

from autopeft.trial import Trial


class _Signal(Enum):
    ROOM = auto()
    """A worker is free: the next trial, please."""
    OVER = auto()
    """Nothing more will come."""


class Handover:
    """Brings trials to the thread that drives machines, and changes to the thread that consumes.

    Requests for trials and changes pass through one queue, so that a request can never overtake
    the end of an earlier trial; the trials themselves are only touched by the consumer's thread.
    """

    def __init__(self) -> None:
        self._events: SimpleQueue[Trial | Exception | _Signal] = SimpleQueue()
        self._replies: SimpleQueue[Trial | None] = SimpleQueue()
        self._closed = Event()

    @property
    def closed(self) -> bool:
        """Whether the driving thread has to stop."""
        return self._closed.is_set()

    def close(self) -> None:
        """Make the driving thread stop, also when it waits for a trial; from either thread."""
        self._closed.set()
        self._replies.put(None)

    def pull(self) -> Trial | None:
        """Wait for the consumer's next trial; None when there is none left, or when closed."""
        if self.closed:
            return None
        self._events.put(_Signal.ROOM)
        return self._replies.get()

    def tell(self, change: Trial | Exception) -> None:
        """Pass on a trial that has changed, or an error that is to be raised in the consumer."""
        self._events.put(change)

    def end(self) -> None:
        """Say that nothing more will come."""
        self._events.put(_Signal.OVER)

    def serve(self, trials: Iterator[Trial]) -> Iterator[Trial]:
        """Answer every pull, in the consumer's thread, and yield every change until the end."""
        while (event := self._events.get()) is not _Signal.OVER:
            match event:
                case Trial():
                    yield event
                case Exception():
                    raise event
                case _Signal.ROOM:
                    self._replies.put(next(trials, None))
