"""Rows that are written whether or not they are there already."""

from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

_DIALECTS = {"sqlite": sqlite, "postgresql": postgresql}


def put(
    connection: Connection, table: Table, row: dict[str, Any], *, changing: tuple[str, ...]
) -> None:
    """Add a row, or change columns of the one with its primary key."""
    adding = _DIALECTS[connection.dialect.name].insert(table).values(row)
    changes = {name: adding.excluded[name] for name in changing}
    keys = list(table.primary_key.columns)
    connection.execute(adding.on_conflict_do_update(index_elements=keys, set_=changes))


def put_if_new(connection: Connection, table: Table, row: dict[str, Any]) -> bool:
    """Add a row unless there is one with its primary key; whether it was added."""
    adding = _DIALECTS[connection.dialect.name].insert(table).values(row)
    added = adding.on_conflict_do_nothing().returning(*table.primary_key.columns)
    return connection.execute(added).first() is not None
