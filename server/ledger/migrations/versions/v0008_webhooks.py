"""Webhooks: where each is sent, what it was told, and the message under way."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "webhooks",
        sa.Column("name", NAME, nullable=False),
        sa.Column("url", NAME, nullable=False),
        sa.Column("filter", NAME, nullable=False),
        sa.Column("secret", NAME, nullable=False),
        sa.Column("status", NAME, nullable=False),
        sa.Column("generation", NAME, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("examined", sa.BigInteger(), nullable=False),
        sa.Column("message_id", NAME),
        sa.Column("message_epoch", NAME),
        sa.Column("message_to", sa.BigInteger()),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("failing_since", NAME),
        sa.Column("next_attempt_at", NAME),
        sa.Column("last_error", NAME),
        sa.Column("last_delivered_at", NAME),
        sa.CheckConstraint("status IN ('active', 'paused')", name="webhook_status_known"),
        sa.PrimaryKeyConstraint("name"),
    )
