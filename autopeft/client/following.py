"""Reads a stream of server-sent events, over as many connections as it takes."""

from collections.abc import Iterator

from autopeft.client.calls import Stream
from autopeft.client.exchange import BUSY, Came, Patience, Reply, trouble
from autopeft.resources.answers import EventResource

READ_TIMEOUT = 60.0
"""Seconds without even a heartbeat, of which there is one every 15, after which it is lost."""
_END = "end"


class Following:
    """What a stream has told so far. It knows no connection: transports feed it what they read."""

    def __init__(self, stream: Stream, patience: Patience, url: str) -> None:
        self.ended = False
        self._last = stream.after
        self._patience = patience
        self._url = url
        self._failures = 0
        self._retry: float | None = None
        self._rest = b""
        self._kind = ""
        self._data: list[str] = []

    def headers(self) -> dict[str, str]:
        """Ask for what was not told yet."""
        return {"Accept": "text/event-stream", "Last-Event-ID": str(self._last)}

    def feed(self, chunk: bytes) -> Iterator[EventResource]:
        """Take what was read, and yield the events that it completes."""
        self._failures = 0
        # not str.splitlines: in JSON some of the signs that it splits at stand for themselves
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if event := self._line(line.removesuffix(b"\r").decode()):
                yield event

    def lost(self, came: Came | None) -> float:
        """Return how long to wait before the stream is opened again.

        None stands for a connection that the service has closed in good order.

        Raises:
            ServiceError: It was tried often enough, or the service refuses.
        """
        self._rest, self._kind, self._data = b"", "", []
        if came is None:
            return self._retry or self._patience.first
        refused = isinstance(came, Reply) and came.status not in BUSY
        if refused or self._failures >= self._patience.reconnections:
            raise trouble(came, self._url)
        self._failures += 1
        return self._patience.before(self._failures - 1, came)

    def _line(self, line: str) -> EventResource | None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            return self._complete()
        if name == "event":
            self._kind = value
        elif name == "data":
            self._data.append(value)
        elif name == "retry" and value.isdecimal():
            self._retry = int(value) / 1000
        return None

    def _complete(self) -> EventResource | None:
        kind, data, self._kind, self._data = self._kind, self._data, "", []
        if kind == _END:
            self.ended = True
            return None
        if not data:
            return None
        event = EventResource.model_validate_json("\n".join(data))
        if event.id <= self._last:
            return None
        self._last = event.id
        return event
