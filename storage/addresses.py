"""Where a store is: a SQLite file or a PostgreSQL database."""

import re
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from autopeft.errors import StoreError

_DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
_ALLOWED = (
    "write a file that ends in .db, sqlite:///FILE, or postgresql+psycopg://USER:PASSWORD@HOST/NAME"
)
_PATIENCE = "30"
"""Seconds to wait for another process's write; a URL with ``?timeout=`` says otherwise."""


def parse_address(text: str) -> URL:
    """Read the address of a store.

    Raises:
        StoreError: It is no address, or one of a database that is not supported.
    """
    if "://" not in text and text.endswith(".db"):
        url = URL.create("sqlite", database=str(Path(text).expanduser()))
    else:
        try:
            url = make_url(text)
        except (ArgumentError, ValueError):
            shown = re.sub(":[^:@/]+@", ":...@", text)  # without its password
            raise StoreError(f"cannot read the store {shown!r}: {_ALLOWED}") from None
    if url.drivername not in _DRIVERS:
        raise StoreError(f"there is no store of the kind {url.drivername!r}: {_ALLOWED}")
    if url.get_backend_name() == "postgresql":
        return url.set(drivername=_DRIVERS[url.drivername])
    if url.database in {None, "", ":memory:"}:
        raise StoreError(f"the store {text!r} names no file: {_ALLOWED}")
    return url.set(query={"timeout": _PATIENCE, **url.query})


def make_folder(url: URL) -> None:
    """Create the folder that a SQLite file lies in.

    Raises:
        StoreError: It cannot be created.
    """
    if not url.database or url.get_backend_name() != "sqlite" or url.database.startswith("file:"):
        return
    folder = Path(url.database).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot create the folder {folder} for the store ({error.strerror}): "
            "give --store a path that can be written"
        ) from error
