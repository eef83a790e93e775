"""Mirrors: copies of balances in other tables, and what is remembered of their rows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
DEFERRED = sa.text("failure IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "mirrors",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("definition", NAME, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "mirror_states",
        sa.Column("mirror", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("written", sa.BigInteger()),
        sa.Column("failure", NAME),
        sa.PrimaryKeyConstraint("mirror", "account_id"),
    )
    op.create_index(
        "mirror_states_by_failure",
        "mirror_states",
        ["mirror", "account_id"],
        postgresql_where=DEFERRED,
        sqlite_where=DEFERRED,
    )
