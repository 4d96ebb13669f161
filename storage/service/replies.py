"""Answers that are given again when a request is repeated."""

from datetime import timedelta

from sqlalchemy import and_, delete, or_, select, update

from autopeft.service.ports import Reply
from autopeft.storage.database import Database
from autopeft.storage.service.tables import replies
from autopeft.storage.service.times import Times
from autopeft.storage.service.upserts import put_if_new

_KEPT = timedelta(days=1)
_LOST_AFTER = timedelta(minutes=1)


class SqlReplies:
    """Fills ``Replies`` in a database."""

    def __init__(self, database: Database, times: Times) -> None:
        self._database = database
        self._times = times

    def begin(self, owner: str, name: str, body: str) -> Reply | None:
        """Note that an answer is being made, or return the one that there is or will be."""
        mine = (replies.c.owner == owner) & (replies.c.name == name)
        with self._database.writing() as connection:
            now = self._times.now(connection)
            unfinished = and_(mine, replies.c.status.is_(None))
            lost = and_(unfinished, replies.c.begun < now - _LOST_AFTER)
            connection.execute(delete(replies).where(or_(replies.c.begun < now - _KEPT, lost)))
            row = {"owner": owner, "name": name, "body": body, "content": "", "begun": now}
            if put_if_new(connection, replies, row):
                return None
            known = connection.execute(select(replies).where(mine)).one()
        return Reply(body=known.body, status=known.status, content=known.content)

    def finish(self, owner: str, name: str, status: int, content: str) -> None:
        """Keep the answer for a day."""
        mine = (replies.c.owner == owner) & (replies.c.name == name)
        with self._database.writing() as connection:
            connection.execute(update(replies).where(mine).values(status=status, content=content))

    def drop(self, owner: str, name: str) -> None:
        """Forget one that came to nothing, so that it can be tried again."""
        mine = (replies.c.owner == owner) & (replies.c.name == name)
        with self._database.writing() as connection:
            connection.execute(delete(replies).where(mine))
