"""The service's tables: documents again, and beside them the columns that one wants to query.

Who holds a job stands apart from it: a sign of life then touches one small row, and those who are
held can be listed without a look at all others.
"""

from sqlalchemy import BigInteger, Column, Dialect, ForeignKey, Index, Integer, Table, Text
from sqlalchemy.types import TypeDecorator

from autopeft.storage.tables import Moment, metadata


class Plain(TypeDecorator[str]):
    """Text that every database takes: zero bytes and halves of characters are replaced.

    What a user sends, such as an id that there cannot be, is then unknown rather than an error.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Replace what cannot be stored."""
        if value is None or (value.isprintable() and value.isascii()):
            return value
        return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


jobs = Table(
    "jobs",
    metadata,
    Column("id", Plain, primary_key=True),
    Column("kind", Plain, nullable=False),
    Column("owner", Plain, nullable=False),
    Column("state", Plain, nullable=False),
    Column("lane", Plain),  # that may take it now: none while it is held or there is nothing to do
    Column("priority", Integer, nullable=False),
    Column("most_running", Integer),
    Column("study", Plain, nullable=False),
    Column("created", Moment, nullable=False),
    Column("since", Moment, nullable=False),  # when it came into its state
    Column("events", Integer, nullable=False),
    Column("document", Text, nullable=False),
    Index("ix_jobs_created", "created", "id"),
    Index("ix_jobs_owner_created", "owner", "created", "id"),
    Index("ix_jobs_owner_state", "owner", "state"),
    Index("ix_jobs_kind_state", "kind", "state"),
    Index("ix_jobs_state", "state"),
    Index("ix_jobs_turn", "lane", "priority", "owner", "created", "id"),
    Index("ix_jobs_waiting", "lane", "since"),
)

job_metadata = Table(
    "job_metadata",
    metadata,
    Column("job_id", ForeignKey("jobs.id"), primary_key=True),
    Column("name", Plain, primary_key=True),
    Column("value", Plain, nullable=False),
    Index("ix_job_metadata_value", "name", "value"),
)

job_events = Table(
    "job_events",
    metadata,
    Column("job_id", ForeignKey("jobs.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", Moment, nullable=False),
    Column("kind", Plain, nullable=False),
    Column("happening", Text, nullable=False),
)

claims = Table(
    "claims",
    metadata,
    Column("job_id", ForeignKey("jobs.id"), primary_key=True),
    Column("token", Plain, nullable=False),
    Column("worker", Plain, nullable=False),
    Column("lane", Plain, nullable=False),
    Column("host", Plain, nullable=False),
    Column("namespace", Plain, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("started", BigInteger, nullable=False),
    Column("heartbeat", Moment, nullable=False),
)

turns = Table(
    "turns",
    metadata,
    Column("lane", Plain, primary_key=True),
    Column("owner", Plain, primary_key=True),
    Column("turn", BigInteger, nullable=False),  # counts claims: a clock may go backwards
)

workers = Table(
    "workers",
    metadata,
    Column("worker", Plain, primary_key=True),
    Column("lane", Plain, primary_key=True),
    Column("doing", Plain, nullable=False),
    Column("seen", Moment, nullable=False),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("job_id", ForeignKey("jobs.id"), primary_key=True),
    Column("name", Plain, primary_key=True),
    Column("document", Text, nullable=False),
)

datasets = Table(
    "datasets",
    metadata,
    Column("id", Plain, primary_key=True),
    Column("owner", Plain, nullable=False),
    Column("created", Moment, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    Index("ix_datasets_created", "created", "id"),
    Index("ix_datasets_owner_created", "owner", "created", "id"),
)

keys = Table(
    "keys",
    metadata,
    Column("id", Plain, primary_key=True),
    Column("owner", Plain, nullable=False),
    Column("created", Moment, nullable=False),
    Column("document", Text, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("at", Moment, nullable=False),
    Column("who", Plain, nullable=False),
    Column("what", Plain, nullable=False),
    Column("about", Plain, nullable=False),
)

replies = Table(
    "replies",
    metadata,
    Column("owner", Plain, primary_key=True),
    Column("name", Plain, primary_key=True),
    Column("body", Plain, nullable=False),
    Column("status", Integer),
    Column("content", Plain, nullable=False),
    Column("begun", Moment, nullable=False),
    Index("ix_replies_begun", "begun"),
)
