"""Events as they happen, to any number of listeners: one look at the store serves them all."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from autopeft.api.logs import Log
from autopeft.api.presenting import Present
from autopeft.errors import AutopeftError, UnknownError
from autopeft.service.event import Event
from autopeft.service.job import Job
from autopeft.service.ports import Jobs

EVERY = 0.25
"""Seconds between two looks for new events."""
ASKS_AGAIN = 2.0
"""Seconds after which a listener's right to listen is looked at anew."""
HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent, so that no proxy closes the stream."""
RETRY = 2_000
"""Milliseconds after which a browser connects anew."""
_KEPT = 256
_PAGE = 200
_THREADS = 2

Result = TypeVar("Result")


class _Channel:
    """What is known of one job that has listeners.

    ``last`` is the number of the last event that was read, ``recent`` the latest of them as they
    go over the wire, without gaps up to ``last``.
    """

    def __init__(self, job: Job) -> None:
        self.last = job.events
        self.ended = job.state.ended
        self.gone = False
        self.recent: deque[tuple[int, bytes]] = deque(maxlen=_KEPT)
        self.listeners = 0
        self.changed = asyncio.Event()
        self.reading = asyncio.Lock()

    def keep(self, told: Sequence[tuple[int, bytes]]) -> None:
        """Keep what was read of the past for those who ask next, where no gap comes of it."""
        reaches_further = not self.recent or (told and told[0][0] < self.recent[0][0])
        if told and told[-1][0] == self.last and reaches_further:
            self.recent = deque(told, maxlen=_KEPT)

    def tell(self) -> None:
        """Wake all listeners; they wait for the next change by the next event."""
        woken, self.changed = self.changed, asyncio.Event()
        woken.set()

    def since(self, after: int) -> list[tuple[int, bytes]] | None:
        """Return what came after an event; None where that is too long ago to be kept."""
        if not self.recent or self.recent[0][0] > after + 1:
            return None
        return [each for each in self.recent if each[0] > after]


class Streams:
    """Follows jobs for listeners. One task looks for what is new, however many listen.

    What was sent is shared by all listeners of a job, and a slow one keeps nothing but its place.
    """

    def __init__(
        self,
        jobs: Jobs,
        present: Present,
        log: Log,
        *,
        every: float = EVERY,
        heartbeat: float = HEARTBEAT,
        asks_again: float = ASKS_AGAIN,
    ) -> None:
        self._jobs = jobs
        self._present = present
        self._log = log
        self._every = every
        self._heartbeat = heartbeat
        self._asks_again = asks_again
        self._channels: dict[str, _Channel] = {}
        self._threads = CapacityLimiter(_THREADS)
        self._closing = False

    @property
    def open(self) -> int:
        """How many listeners there are."""
        return sum(channel.listeners for channel in self._channels.values())

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look for new events during a ``with`` block, and end all streams after it."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            self.close()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def close(self) -> None:
        """End all streams, for the process stops; listeners connect anew."""
        self._closing = True
        for channel in self._channels.values():
            channel.tell()

    async def follow(
        self, job: Job, after: int, stands: Callable[[], Awaitable[bool]]
    ) -> AsyncGenerator[bytes, None]:
        """Tell what happened to a job after an event, and then what happens, as it goes out.

        Ends with an event ``end`` when the job has ended and all is told, and without it where
        the listener's right to listen does not stand any more.
        """
        channel = self._channels.setdefault(job.id, _Channel(job))
        channel.listeners += 1
        told, known = after, time.monotonic()
        try:
            yield format_sse_event(retry=RETRY)
            while not self._closing:
                changed = channel.changed
                if time.monotonic() - known >= self._asks_again:
                    if not await stands():
                        return
                    known = time.monotonic()
                async for number, chunk in self._news(job.id, channel, told):
                    told = number
                    yield chunk
                if channel.gone or (channel.ended and told >= channel.last):
                    yield format_sse_event(event="end", data_str="{}")
                    return
                if not await _within(self._heartbeat, changed.wait()):
                    if not await stands():
                        return
                    yield KEEPALIVE_COMMENT
        finally:
            channel.listeners -= 1
            if not channel.listeners:
                self._channels.pop(job.id, None)

    async def _news(
        self, job_id: str, channel: _Channel, after: int
    ) -> AsyncIterator[tuple[int, bytes]]:
        """Yield what comes after an event, some at once, each with the number of the last."""
        while after < channel.last:
            async with channel.reading:  # of many who begin at once, one reads for all
                told = channel.since(after)
                if told is None:
                    told = self._written(await self._read(job_id, after))
                    channel.keep(told)
            if not told:
                return
            after = told[-1][0]
            yield after, b"".join(chunk for _, chunk in told)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            if not self._channels:
                continue
            try:
                await self._look()
            except AutopeftError as error:  # the store is away: listeners wait until it is back
                self._log.warning("the store cannot be read for streams", error=str(error))

    async def _look(self) -> None:
        known = dict(self._channels)
        latest = await self._in_thread(partial(self._jobs.latest, list(known)))
        for job_id, channel in known.items():
            if job_id not in latest:
                channel.gone = True
                channel.tell()
            elif latest[job_id] > channel.last:
                await self._catch_up(job_id, channel)

    async def _catch_up(self, job_id: str, channel: _Channel) -> None:
        """Read what is new of a job, and whether it has ended, and wake who listens."""
        while events := await self._read(job_id, channel.last):
            channel.recent.extend(self._written(events))
            channel.last = events[-1].number
        try:
            job = await self._in_thread(partial(self._jobs.job, job_id))
        except UnknownError:
            channel.gone = True
        else:
            channel.ended = job.state.ended and job.events <= channel.last
        channel.tell()

    async def _read(self, job_id: str, after: int) -> tuple[Event, ...]:
        return await self._in_thread(partial(self._jobs.events, job_id, after=after, limit=_PAGE))

    async def _in_thread(self, call: Callable[[], Result]) -> Result:
        return await to_thread.run_sync(call, limiter=self._threads)

    def _written(self, events: Sequence[Event]) -> list[tuple[int, bytes]]:
        return [(event.number, self._wire(event)) for event in events]

    def _wire(self, event: Event) -> bytes:
        resource = self._present.event(event)
        return format_sse_event(
            data_str=resource.model_dump_json(), event=resource.kind, id=str(resource.id)
        )


async def _within(seconds: float, waiting: Awaitable[Any]) -> bool:
    """Wait for something; False where it has not come in time."""
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        return False
    return True
