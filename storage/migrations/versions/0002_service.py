"""What the service remembers: jobs and their events, claims, keys, data sets, replies.

Trials get an index by state, so that they can be counted without being read.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_index("ix_trials_state", "trials", ["state"])
    _create_jobs()
    _create_parts_of_jobs()
    _create_workers()
    _create_datasets()
    _create_keys()


def downgrade() -> None:
    for table in (
        *("replies", "audit", "keys", "datasets", "workers", "turns", "artifacts", "claims"),
        *("job_events", "job_metadata", "jobs"),
    ):
        op.drop_table(table)
    op.drop_index("ix_trials_state", "trials")


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        _text("id"),
        _text("kind"),
        _text("owner"),
        _text("state"),
        sa.Column("lane", sa.Text()),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("most_running", sa.Integer()),
        _text("study"),
        _moment("created"),
        _moment("since"),
        sa.Column("events", sa.Integer(), nullable=False),
        _text("document"),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
    )
    op.create_index("ix_jobs_created", "jobs", ["created", "id"])
    op.create_index("ix_jobs_owner_created", "jobs", ["owner", "created", "id"])
    op.create_index("ix_jobs_owner_state", "jobs", ["owner", "state"])
    op.create_index("ix_jobs_kind_state", "jobs", ["kind", "state"])
    op.create_index("ix_jobs_state", "jobs", ["state"])
    op.create_index("ix_jobs_turn", "jobs", ["lane", "priority", "owner", "created", "id"])
    op.create_index("ix_jobs_waiting", "jobs", ["lane", "since"])


def _create_parts_of_jobs() -> None:
    op.create_table(
        "job_metadata",
        _text("job_id"),
        _text("name"),
        _text("value"),
        sa.PrimaryKeyConstraint("job_id", "name", name="pk_job_metadata"),
        _known_job("job_metadata"),
    )
    op.create_index("ix_job_metadata_value", "job_metadata", ["name", "value"])
    op.create_table(
        "job_events",
        _text("job_id"),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        _moment("at"),
        _text("kind"),
        _text("happening"),
        sa.PrimaryKeyConstraint("job_id", "number", name="pk_job_events"),
        _known_job("job_events"),
    )
    op.create_table(
        "claims",
        _text("job_id"),
        _text("token"),
        _text("worker"),
        _text("lane"),
        _text("host"),
        _text("namespace"),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("started", sa.BigInteger(), nullable=False),
        _moment("heartbeat"),
        sa.PrimaryKeyConstraint("job_id", name="pk_claims"),
        _known_job("claims"),
    )
    op.create_table(
        "artifacts",
        _text("job_id"),
        _text("name"),
        _text("document"),
        sa.PrimaryKeyConstraint("job_id", "name", name="pk_artifacts"),
        _known_job("artifacts"),
    )


def _create_workers() -> None:
    op.create_table(
        "turns",
        _text("lane"),
        _text("owner"),
        sa.Column("turn", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("lane", "owner", name="pk_turns"),
    )
    op.create_table(
        "workers",
        _text("worker"),
        _text("lane"),
        _text("doing"),
        _moment("seen"),
        sa.PrimaryKeyConstraint("worker", "lane", name="pk_workers"),
    )


def _create_datasets() -> None:
    op.create_table(
        "datasets",
        _text("id"),
        _text("owner"),
        _moment("created"),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        _text("document"),
        sa.PrimaryKeyConstraint("id", name="pk_datasets"),
    )
    op.create_index("ix_datasets_created", "datasets", ["created", "id"])
    op.create_index("ix_datasets_owner_created", "datasets", ["owner", "created", "id"])


def _create_keys() -> None:
    op.create_table(
        "keys",
        _text("id"),
        _text("owner"),
        _moment("created"),
        _text("document"),
        sa.PrimaryKeyConstraint("id", name="pk_keys"),
    )
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer(), nullable=False),
        _moment("at"),
        _text("who"),
        _text("what"),
        _text("about"),
        sa.PrimaryKeyConstraint("number", name="pk_audit"),
    )
    op.create_table(
        "replies",
        _text("owner"),
        _text("name"),
        _text("body"),
        sa.Column("status", sa.Integer()),
        _text("content"),
        _moment("begun"),
        sa.PrimaryKeyConstraint("owner", "name", name="pk_replies"),
    )
    op.create_index("ix_replies_begun", "replies", ["begun"])


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _moment(name: str) -> sa.Column[object]:
    return sa.Column(name, _MOMENT, nullable=False)


def _known_job(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=f"fk_{table}_job_id")
