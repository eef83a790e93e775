"""Verifications: how far each has come, and what it found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "verifications",
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("id", NAME, nullable=False),
        sa.Column("requested_by", NAME, nullable=False),
        sa.Column("fix", sa.Integer(), nullable=False),
        sa.Column("user_id", NAME),
        sa.Column("book", NAME),
        sa.Column("status", NAME, nullable=False),
        sa.Column("checked", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("report", NAME),
        sa.Column("error", NAME),
        sa.Column("started_at", NAME, nullable=False),
        sa.Column("alive_until", NAME, nullable=False),
        sa.Column("finished_at", NAME),
        sa.CheckConstraint(
            "status IN ('running', 'done', 'failed')", name="verification_status_known"
        ),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("id"),
    )
