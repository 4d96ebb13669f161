"""API keys, and the log of who did what."""

import json
from dataclasses import replace
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from autopeft.errors import JobError, UnknownError
from autopeft.service.key import Key
from autopeft.storage.database import Database
from autopeft.storage.rows import record_of, text_of
from autopeft.storage.service.tables import audit, keys


class SqlKeys:
    """Fills ``Keys`` in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, key: Key) -> None:
        """Remember a key."""
        row = {"id": key.id, "owner": key.owner, "created": key.created, "document": text_of(key)}
        with self._database.writing() as connection:
            try:
                connection.execute(insert(keys).values(**row))
            except IntegrityError:
                raise JobError(f"there is a key {key.id!r} already: make another one") from None

    def key(self, key_id: str) -> Key | None:
        """Find a key by its id."""
        with self._database.reading() as connection:
            document = connection.scalar(select(keys.c.document).where(keys.c.id == key_id))
        return None if document is None else record_of(Key, json.loads(document))

    def keys(self, owner: str | None = None) -> tuple[Key, ...]:
        """List all keys, or an owner's, the oldest first."""
        wanted = select(keys.c.document).order_by(keys.c.created, keys.c.id)
        if owner is not None:
            wanted = wanted.where(keys.c.owner == owner)
        with self._database.reading() as connection:
            documents = connection.scalars(wanted).all()
        return tuple(record_of(Key, json.loads(document)) for document in documents)

    def revoke(self, key_id: str, at: datetime) -> Key:
        """Make a key useless from now on; doing it again changes nothing."""
        wanted = keys.c.id == key_id
        with self._database.writing() as connection:
            locked = select(keys.c.document).where(wanted).with_for_update()
            document = connection.scalar(locked)
            if document is None:
                raise UnknownError(f"there is no key {key_id!r}: list the keys for those there are")
            known = record_of(Key, json.loads(document))
            revoked = replace(known, revoked=known.revoked or at)
            connection.execute(update(keys).where(wanted).values(document=text_of(revoked)))
        return revoked

    def note(self, who: str, what: str, about: str, at: datetime) -> None:
        """Add to the audit log: who did what to which resource. It is never changed."""
        with self._database.writing() as connection:
            connection.execute(insert(audit).values(at=at, who=who, what=what, about=about))

    def audit(self, limit: int = 100) -> tuple[tuple[datetime, str, str, str], ...]:
        """List the audit log, the latest first: when, who, what, about what."""
        wanted = select(audit).order_by(audit.c.number.desc()).limit(limit)
        with self._database.reading() as connection:
            rows = connection.execute(wanted).all()
        return tuple((row.at, row.who, row.what, row.about) for row in rows)
