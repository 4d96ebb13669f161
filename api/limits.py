"""How much one caller may ask for, and how large a request may be."""

import asyncio
import math
import threading
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from autopeft.api.problems import ProblemError

JSON_BYTES = 2 * 2**20
"""The largest body of a request that is not an upload."""
PATIENCE = 30.0
"""Seconds within which the next part of such a body must come."""
_MOST_NAMES = 10_000


class Buckets:
    """A token bucket for each name: ``rate`` tokens a second, at most ``burst`` at once."""

    def __init__(
        self, *, rate: float, burst: float, tick: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = max(1.0, burst)
        self._tick = tick
        self._left: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, name: str) -> None:
        """Take one token of a name.

        Raises:
            ProblemError: None is left; Retry-After says when there is one again.
        """
        with self._lock:
            left = self._now(name)
            if left >= 1:
                self._left[name] = (left - 1, self._tick())
                return
        wait = math.ceil((1 - left) / self._rate) if self._rate > 0 else 3600
        raise ProblemError(
            "rate_limited",
            f"these are more requests than the {self._rate:g} a second that are allowed",
            headers={"Retry-After": str(max(1, wait))},
        )

    def give_back(self, name: str) -> None:
        """Give a token back that was taken for nothing."""
        with self._lock:
            self._left[name] = (min(self._burst, self._now(name) + 1), self._tick())

    def _now(self, name: str) -> float:
        if len(self._left) > _MOST_NAMES:
            self._forget_full()
        left, seen = self._left.get(name, (self._burst, self._tick()))
        return min(self._burst, left + (self._tick() - seen) * self._rate)

    def _forget_full(self) -> None:
        """Drop those that are full again: they are as if they had never been seen."""
        now = self._tick()
        self._left = {
            name: (left, seen)
            for name, (left, seen) in self._left.items()
            if left + (now - seen) * self._rate < self._burst
        }


class SmallBodies:
    """Reads a body before anybody parses it, and refuses one that is too large.

    Uploads, whose paths are ``streamed``, pass untouched: their route counts as it writes.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        streamed: frozenset[str],
        most: int = JSON_BYTES,
        patience: float = PATIENCE,
    ) -> None:
        self._app = app
        self._patience = patience
        self._streamed = streamed
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        passes = scope["type"] != "http" or scope["method"] in {"GET", "HEAD", "OPTIONS"}
        if passes or scope["path"].rstrip("/") in self._streamed:
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
        except ProblemError as problem:
            request_id = scope.get("state", {}).get("request_id")
            await problem.answer(request_id)(scope, receive, send)
            return
        if body is not None:
            await self._app(scope, _replay(body, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """Return the body; None where the client has gone before it was whole."""
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._most:
            raise self._too_large()
        chunks, size = [], 0
        while True:
            try:
                message = await asyncio.wait_for(receive(), self._patience)
            except TimeoutError:
                raise self._too_slow() from None
            if message["type"] == "http.disconnect":
                return None
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self._most:
                raise self._too_large()
            chunks.append(chunk)
            if not message.get("more_body"):
                return b"".join(chunks)

    def _too_slow(self) -> ProblemError:
        return ProblemError(
            "too_slow",
            f"nothing more of the body came for {self._patience:g} s",
            headers={"Connection": "close"},
        )

    def _too_large(self) -> ProblemError:
        return ProblemError(
            "too_large",
            f"the body has more than the {self._most:,} bytes that are allowed",
            headers={"Connection": "close"},
        )


def _replay(body: bytes, receive: Receive) -> Receive:
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
