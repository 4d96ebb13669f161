"""What time it is, where several machines have to agree on it."""

from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import Connection, func, select

from autopeft.storage.rows import moment


class Times:
    """PostgreSQL's own clock, which all workers share; this machine's for a SQLite file."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    def now(self, connection: Connection) -> datetime:
        """Return the time in UTC."""
        if connection.dialect.name == "postgresql":
            told: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
            return told.astimezone(UTC)
        return moment(self._clock())
