"""Studies, trials, answers and leases.

Written out rather than taken from ``tables``, which will go on changing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "studies",
        sa.Column("id", sa.String(12), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("created", _MOMENT, nullable=False),
        sa.Column("used", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_studies"),
    )
    op.create_table(
        "trials",
        _study_id(),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("score", sa.Float()),
        sa.Column("parameters", sa.BigInteger()),
        sa.Column("created", _MOMENT, nullable=False),
        sa.Column("started", _MOMENT),
        sa.Column("ended", _MOMENT),
        sa.Column("proposal", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("predictions", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("study_id", "number", name="pk_trials"),
        _known_study("trials"),
    )
    op.create_table(
        "answers",
        _study_id(),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("saved", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("study_id", name="pk_answers"),
        _known_study("answers"),
    )
    op.create_table(
        "leases",
        _study_id(),
        sa.Column("token", sa.String(32), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("started", sa.BigInteger(), nullable=False),
        sa.Column("heartbeat", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("study_id", name="pk_leases"),
        _known_study("leases"),
    )


def downgrade() -> None:
    for table in ("leases", "answers", "trials", "studies"):
        op.drop_table(table)


def _study_id() -> sa.Column[str]:
    return sa.Column("study_id", sa.String(12), nullable=False)


def _known_study(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=f"fk_{table}_study_id")
