"""Connections and transactions, and what goes wrong with them in plain sentences."""

import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from autopeft.errors import StoreError
from autopeft.storage.addresses import make_folder, parse_address
from autopeft.storage.schema import REVISION, revision, upgrade

MOST_AT_ONCE = 40
"""How many transactions may be open at once; one more waits for the first that ends."""
_BUSY = (
    "is locked by another process that does not let go: stop that one, then run the same command "
    "again"
)
_FULL = (
    "could not be written because the disk is full: free some space, then run the same command "
    "again; what was finished before is kept"
)
# By the start of what SQLite calls the error, or of PostgreSQL's code of it.
_SENTENCES = {
    "SQLITE_BUSY": _BUSY,
    "55P03": _BUSY,
    "SQLITE_FULL": _FULL,
    "53100": _FULL,
    "SQLITE_IOERR": "could not be read or written on its disk: see that the disk has room and "
    "works, then run the same command again; what was finished before is kept",
    "SQLITE_READONLY": "may only be read: allow writing to the file and its folder, or use "
    "another --store",
    "25006": "may only be read: use the address of the server that is written to",
    "SQLITE_CANTOPEN": "cannot be opened: it must be a file, in a folder that may be written; "
    "use another --store",
    "SQLITE_NOTADB": "is no SQLite database: use another --store",
    "SQLITE_CORRUPT": "is damaged: restore it from a copy, or use another --store",
}


# A connection to a server that has gone away is noticed, and not waited for without end; what a
# machine that is gone has left unfinished is undone.
_SERVER = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "options": "-c idle_in_transaction_session_timeout=60000 -c lock_timeout=30000",
}


class Database:
    """A database whose schema is up to date. ``name`` is its address without the password.

    What a ``durable`` one has written is on the disk, also after a power cut.

    Raises:
        StoreError: It cannot be opened, now or in any transaction later.
    """

    def __init__(self, address: str, *, durable: bool = False) -> None:
        url = parse_address(address)
        make_folder(url)
        self.name = url.database if url.get_backend_name() == "sqlite" else str(url)
        self._engine = _engine(url, durable=durable)
        self._failed: float | None = None
        with self.reading() as connection:
            found = revision(connection)
        if found != REVISION:
            with self.writing() as connection:
                upgrade(connection, str(self.name))

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Read from one consistent state, without waiting for writers."""
        with self._plainly(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Write all or nothing; SQLite has one writer at a time."""
        engine = self._engine.execution_options(writing=True)
        with self._plainly(), engine.begin() as connection:
            yield connection

    def failed_within(self, seconds: float) -> bool:
        """Whether it could not be used at some moment of the last seconds."""
        return self._failed is not None and time.monotonic() - self._failed < seconds

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            self._failed = time.monotonic()
            raise StoreError(f"the store {self.name} {_sentence(error.orig)}") from error
        except PoolTimeout as error:
            raise StoreError(
                f"the store {self.name} has more to do than it can: try again in a moment"
            ) from error


def _sentence(error: Any) -> str:
    code = getattr(error, "sqlite_errorname", None) or getattr(error, "sqlstate", None) or ""
    for name, sentence in _SENTENCES.items():
        if code.startswith(name):
            return sentence
    reason = " ".join(str(error).split())
    return f"cannot be used ({reason}): see that its address is right and that its server runs"


def _engine(url: URL, *, durable: bool) -> Engine:
    try:
        engine = create_engine(url, **_options(url))
    except ModuleNotFoundError as error:
        raise StoreError(
            f"the store {url} needs the package {error.name!r}: pip install 'psycopg[binary]', "
            "or use a file that ends in .db"
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite_durably if durable else _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _options(url: URL) -> dict[str, Any]:
    pool: dict[str, Any] = {"pool_size": 5, "max_overflow": MOST_AT_ONCE - 5}
    if url.get_backend_name() == "sqlite":
        return {**pool, "pool_timeout": float(str(url.query["timeout"]))}
    chosen = {name: value for name, value in _SERVER.items() if name not in url.query}
    return {**pool, "pool_pre_ping": True, "connect_args": chosen}


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    _use_wal(connection)
    # In WAL mode a killed process loses nothing; a power cut may lose the last trials, no more.
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")


def _prepare_sqlite_durably(connection: sqlite3.Connection, record: Any) -> None:
    _prepare_sqlite(connection, record)
    connection.execute("PRAGMA synchronous=FULL")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Let readers and a writer work side by side; kept in the file once it is set.

    SQLite does not wait for a lock here, as it does everywhere else, when several processes open
    a new file at once.
    """
    (patience,) = connection.execute("PRAGMA busy_timeout").fetchone()
    end = time.monotonic() + patience / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > end:
                raise
            time.sleep(random.uniform(0.005, 0.02))
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    # Python begins a transaction only before the first change: too late for a consistent read, and
    # a reader that turns writer may fail at once. So a writer says from the start that it is one.
    writing = connection.get_execution_options().get("writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
