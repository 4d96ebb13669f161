"""The tables: records as JSON documents, and beside them the columns that one wants to query.

What is read back comes from the documents alone; ``state``, ``score``, ``parameters`` and
``purpose`` repeat a part of them for people and dashboards. Documents are text rather than a
database's own JSON type, because that one refuses the nan of a training that diverged.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.types import TypeDecorator


class Moment(TypeDecorator[datetime]):
    """A time in UTC, also where the database drops the zone, as SQLite does."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Give a time from the database its zone."""
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


metadata = MetaData(
    naming_convention={"pk": "pk_%(table_name)s", "fk": "fk_%(table_name)s_%(column_0_name)s"}
)

studies = Table(
    "studies",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("document", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("created", Moment, nullable=False),
    Column("used", Moment, nullable=False),
)

trials = Table(
    "trials",
    metadata,
    Column("study_id", ForeignKey("studies.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("purpose", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("score", Float),
    Column("parameters", BigInteger),
    Column("created", Moment, nullable=False),
    Column("started", Moment),
    Column("ended", Moment),
    Column("proposal", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("predictions", LargeBinary),
    Index("ix_trials_state", "state"),  # so that they can be counted without being read
)

answers = Table(
    "answers",
    metadata,
    Column("study_id", ForeignKey("studies.id"), primary_key=True),
    Column("answer", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("saved", Moment, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("study_id", ForeignKey("studies.id"), primary_key=True),
    Column("token", String(32), nullable=False),
    Column("host", Text, nullable=False),
    Column("namespace", Text, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("started", BigInteger, nullable=False),
    Column("heartbeat", Moment, nullable=False),
)
