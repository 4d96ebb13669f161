"""Keys as they are now, read once for all requests that wait."""

import asyncio

from anyio import CapacityLimiter, to_thread

from autopeft.errors import AutopeftError
from autopeft.service.key import Key
from autopeft.service.ports import Keys

Found = Key | None | AutopeftError


class Lookups:
    """Reads keys, one read at a time, each for everybody who came before it began.

    So no request is let in by a key as it was earlier, and under load a read serves many.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._waiting: dict[str, asyncio.Future[Found]] = {}
        self._task: asyncio.Task[None] | None = None
        self._thread = CapacityLimiter(1)

    async def key(self, key_id: str) -> Key | None:
        """Find a key by its id.

        Raises:
            StoreError: The store cannot be read.
        """
        future = self._waiting.get(key_id)
        if future is None:
            future = self._waiting[key_id] = asyncio.get_running_loop().create_future()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._read())
        found = await asyncio.shield(future)
        if isinstance(found, AutopeftError):
            raise found
        return found

    async def _read(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting, {}
            found = await to_thread.run_sync(self._all, list(asked), limiter=self._thread)
            for future, key in zip(asked.values(), found, strict=True):
                future.set_result(key)

    def _all(self, key_ids: list[str]) -> list[Found]:
        return [self._one(key_id) for key_id in key_ids]

    def _one(self, key_id: str) -> Found:
        try:
            return self._keys.key(key_id)
        except AutopeftError as error:
            return error
