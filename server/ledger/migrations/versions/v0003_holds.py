"""Holds, and the transactions that belong to one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
OPEN = sa.text("status = 'open'")
OF_A_HOLD = sa.text("hold IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "holds",
        sa.Column("id", NAME, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("remaining", sa.BigInteger(), nullable=False),
        sa.Column("status", NAME, nullable=False),
        sa.Column("placed_by", NAME, nullable=False),
        sa.Column("expires_at", NAME),
        sa.Column("reference", NAME),
        sa.CheckConstraint("amount > 0 AND remaining BETWEEN 0 AND amount", name="remaining_fits"),
        sa.CheckConstraint(
            "status IN ('open', 'confirmed', 'voided', 'expired')", name="hold_status_known"
        ),
        sa.CheckConstraint("(status = 'open') = (remaining > 0)", name="open_while_it_remains"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("holds_by_position", "holds", ["position"])
    op.create_index("holds_by_account", "holds", ["account_id", "position"])
    op.create_index(
        "holds_by_expiry", "holds", ["expires_at"], postgresql_where=OPEN, sqlite_where=OPEN
    )
    op.add_column("transactions", sa.Column("hold", NAME))
    op.create_index(
        "transactions_by_hold",
        "transactions",
        ["hold", "position"],
        unique=True,
        postgresql_where=OF_A_HOLD,
        sqlite_where=OF_A_HOLD,
    )
