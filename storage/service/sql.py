"""What the service remembers: in a SQLite file, or in PostgreSQL."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import delete, insert

from autopeft.storage.database import Database
from autopeft.storage.processes import Process, this_process
from autopeft.storage.service.claims import Place
from autopeft.storage.service.datasets import SqlDatasets
from autopeft.storage.service.jobs import SqlJobs
from autopeft.storage.service.keys import SqlKeys
from autopeft.storage.service.replies import SqlReplies
from autopeft.storage.service.tables import workers
from autopeft.storage.service.times import Times


class SqlService:
    """Fills ``Service`` in a database; may be used from several threads and processes.

    ``url`` is that of a `SqlStore`, whose studies it may share. ``clock`` counts for a SQLite
    file only: PostgreSQL has its own, on which workers of several machines agree. What was
    accepted is on the disk, also after a power cut.

    Raises:
        StoreError: The store cannot be opened or, by any method, read or written; the next call
            tries again.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float] = time.time,
        process: Callable[[], Process] = this_process,
    ) -> None:
        self._database = Database(url, durable=True)
        times = Times(clock)
        self._jobs = SqlJobs(Place(database=self._database, times=times, process=process))
        self._keys = SqlKeys(self._database)
        self._datasets = SqlDatasets(self._database)
        self._replies = SqlReplies(self._database, times)

    @property
    def jobs(self) -> SqlJobs:
        """The queue."""
        return self._jobs

    @property
    def keys(self) -> SqlKeys:
        """API keys and the audit log."""
        return self._keys

    @property
    def datasets(self) -> SqlDatasets:
        """What was uploaded."""
        return self._datasets

    @property
    def replies(self) -> SqlReplies:
        """What was answered."""
        return self._replies

    def check(self) -> None:
        """See that the store can be read and written, by a row that comes and goes."""
        row = {"worker": "check", "lane": "", "doing": "", "seen": datetime.now(UTC)}
        mine = workers.c.worker == row["worker"]
        with self._database.writing() as connection:
            connection.execute(delete(workers).where(mine))
            connection.execute(insert(workers).values(**row))
            connection.execute(delete(workers).where(mine))

    def close(self) -> None:
        """Close all connections; they are opened again when the service is used."""
        self._database.close()

    @contextmanager
    def closing(self) -> Iterator["SqlService"]:
        """Close all connections at the end of a ``with`` block."""
        try:
            yield self
        finally:
            self.close()
