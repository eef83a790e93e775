"""Trades, the transactions that belong to one, exposures, and trading controls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
OPEN = sa.text("status = 'open'")


def upgrade() -> None:
    op.create_table(
        "trades",
        sa.Column("id", NAME, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("kind", NAME, nullable=False),
        sa.Column("user_id", NAME, nullable=False),
        sa.Column("book", NAME, nullable=False),
        sa.Column("pair", NAME, nullable=False),
        sa.Column("status", NAME, nullable=False),
        sa.Column("expires_at", NAME),
        sa.Column("client_order_id", NAME),
        sa.Column("payout", sa.BigInteger()),
        sa.Column("forced", sa.Integer(), nullable=False),
        sa.Column("told", NAME, nullable=False),
        sa.CheckConstraint("kind IN ('spot', 'option')", name="trade_kind_known"),
        sa.CheckConstraint("(kind = 'spot') = (status = 'filled')", name="spot_filled"),
        sa.CheckConstraint(
            "status IN ('filled', 'open', 'settled', 'refunded')", name="trade_status_known"
        ),
        sa.CheckConstraint("(kind = 'option') = (expires_at IS NOT NULL)", name="option_expires"),
        sa.CheckConstraint("forced = 0 OR book = 'demo'", name="forced_in_demo_only"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("trades_by_position", "trades", ["position"])
    op.create_index("trades_by_user", "trades", ["user_id", "position"])
    _unique("trades_by_client_order", "trades", ["user_id", "client_order_id"], "client_order_id")
    op.create_index(
        "trades_by_expiry",
        "trades",
        ["expires_at", "id"],
        postgresql_where=OPEN,
        sqlite_where=OPEN,
    )
    op.create_table(
        "exposures",
        sa.Column("book", NAME, nullable=False),
        sa.Column("pair", NAME, nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount >= 0", name="exposure_not_negative"),
        sa.PrimaryKeyConstraint("book", "pair"),
    )
    op.create_table(
        "trading_controls",
        sa.Column("book", NAME, nullable=False),
        sa.Column("user_id", NAME, nullable=False),
        sa.Column("mode", NAME, nullable=False),
        sa.Column("position", sa.BigInteger()),
        sa.CheckConstraint("mode IN ('win', 'normal', 'lose')", name="mode_known"),
        sa.CheckConstraint("book = 'demo'", name="control_in_demo_only"),
        sa.PrimaryKeyConstraint("book", "user_id"),
    )
    op.add_column("transactions", sa.Column("trade", NAME))
    _unique("transactions_by_trade", "transactions", ["trade", "position"], "trade")


def _unique(name: str, table: str, columns: list[str], where_present: str) -> None:
    present = sa.text(f"{where_present} IS NOT NULL")
    op.create_index(
        name, table, columns, unique=True, postgresql_where=present, sqlite_where=present
    )
