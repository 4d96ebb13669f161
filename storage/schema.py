"""The schema of a store: recognised, created, or brought up to date when it is opened."""

from threading import Lock
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, inspect, select, text

from autopeft.errors import StoreError
from autopeft.storage.service import tables as _of_the_service  # noqa: F401 - are in metadata
from autopeft.storage.tables import metadata

if TYPE_CHECKING:  # Alembic takes 0.2 s to import, and a store that is up to date needs none of it
    from alembic.config import Config

REVISION = "0002"
"""The last revision in ``migrations/versions``, to which ``tables`` belongs."""

_VERSION_TABLE = "alembic_version"
_ONE_AT_A_TIME = 0x6175746F  # names PostgreSQL's lock; SQLite's write transaction is one already
_alembic = Lock()  # its context is global to the process


def revision(connection: Connection) -> str | None:
    """Read the revision of a store; None when it has no tables of ours."""
    if not inspect(connection).has_table(_VERSION_TABLE):
        return None
    found: str | None = connection.scalar(text(f"SELECT version_num FROM {_VERSION_TABLE}"))
    return found


def upgrade(connection: Connection, store: str) -> None:
    """Create the tables or bring them up to date, in a write transaction.

    Raises:
        StoreError: The store is of a newer autopeft, or belongs to another program.
    """
    from alembic import command
    from alembic.script import ScriptDirectory

    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_ONE_AT_A_TIME)))
    found = revision(connection)
    if found == REVISION:
        return  # another process was quicker
    config = configuration(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise StoreError(
            f"the store {store} has schema revision {found!r}, this autopeft knows up to "
            f"{REVISION!r}: update autopeft, or use another --store"
        )
    if found is None:
        _refuse_foreign(connection, store)
    with _alembic:
        command.upgrade(config, REVISION)


def configuration(connection: Connection) -> "Config":
    """Return what Alembic needs to migrate over a connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "autopeft.storage:migrations")
    config.attributes["connection"] = connection
    return config


def _refuse_foreign(connection: Connection, store: str) -> None:
    foreign = sorted(metadata.tables.keys() & set(inspect(connection).get_table_names()))
    if foreign:
        raise StoreError(
            f"the store {store} holds tables of another program ({', '.join(foreign)}): "
            "use another --store"
        )
