"""The first schema: catalog, accounts, the journal and its clock, access, audit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
APPEND_ONLY = ("transactions", "postings", "seals")


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("book", NAME, nullable=False),
        sa.Column("owner", NAME, nullable=False),
        sa.Column("asset", NAME, nullable=False),
        sa.Column("balance", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.Column("total_in", sa.BigInteger(), nullable=False),
        sa.Column("total_out", sa.BigInteger(), nullable=False),
        sa.Column("floor", sa.BigInteger(), nullable=True),
        sa.Column("suspend_below", sa.BigInteger(), nullable=True),
        sa.Column("alert_below", sa.BigInteger(), nullable=True),
        sa.Column("status", NAME, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("digest", NAME, nullable=False),
        sa.CheckConstraint(
            "status IN ('active', 'suspended', 'frozen', 'closed')", name="status_known"
        ),
        sa.CheckConstraint(
            "balance BETWEEN -9223372036854775807 AND 9223372036854775807", name="balance_in_range"
        ),
        sa.CheckConstraint("held >= 0", name="held_not_negative"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_index("accounts_by_owner", "accounts", ["owner"], unique=False)
    op.create_table(
        "assets",
        sa.Column("code", NAME, nullable=False),
        sa.Column("scale", sa.Integer(), nullable=False),
        sa.CheckConstraint("scale BETWEEN 0 AND 12", name="scale_in_range"),
        sa.PrimaryKeyConstraint("code"),
    )
    op.create_table(
        "audit",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("time", NAME, nullable=False),
        sa.Column("actor", NAME, nullable=False),
        sa.Column("action", NAME, nullable=False),
        sa.Column("target", NAME, nullable=False),
        sa.Column("details", NAME, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "books",
        sa.Column("name", NAME, nullable=False),
        sa.Column("side", NAME, nullable=False),
        sa.Column("default_floor", NAME, nullable=True),
        sa.Column("accounts", NAME, nullable=False),
        sa.Column("self_service", sa.Integer(), nullable=False),
        sa.Column("timezone", NAME, nullable=False),
        sa.Column("starts_on", NAME, nullable=True),
        sa.Column("closed_through", NAME, nullable=True),
        sa.CheckConstraint("accounts IN ('open', 'strict')", name="accounts_known"),
        sa.CheckConstraint("side IN ('credit', 'debit')", name="side_known"),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "clock",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("epoch", NAME, nullable=False),
        sa.Column("seal", NAME, nullable=False),
        sa.Column("created_at", NAME, nullable=False),
        sa.Column("settings_version", sa.BigInteger(), nullable=False),
        sa.Column("paused", sa.Integer(), nullable=False),
        sa.Column("system_id", NAME, nullable=True),
        sa.CheckConstraint("id = 1", name="one_clock"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "postings",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("held_change", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.Column("balance", sa.BigInteger(), nullable=True),
        sa.Column("held", sa.BigInteger(), nullable=True),
        sa.Column("total_in", sa.BigInteger(), nullable=True),
        sa.Column("total_out", sa.BigInteger(), nullable=True),
        sa.Column("floor", sa.BigInteger(), nullable=True),
        sa.Column("suspend_below", sa.BigInteger(), nullable=True),
        sa.Column("alert_below", sa.BigInteger(), nullable=True),
        sa.Column("status", NAME, nullable=True),
        sa.Column("digest", NAME, nullable=True),
        sa.CheckConstraint(
            "amount BETWEEN -9223372036854775807 AND 9223372036854775807", name="amount_in_range"
        ),
        sa.PrimaryKeyConstraint("position", "account_id"),
    )
    op.create_index("postings_by_account", "postings", ["account_id", "position"], unique=True)
    op.create_table(
        "revocations",
        sa.Column("user_id", NAME, nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id"),
    )
    op.create_table(
        "seals",
        sa.Column("last", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("created_at", NAME, nullable=False),
        sa.Column("seal", NAME, nullable=False),
        sa.PrimaryKeyConstraint("last"),
    )
    op.create_index("seals_by_time", "seals", ["created_at"], unique=False)
    op.create_table(
        "tickets",
        sa.Column("hash", NAME, nullable=False),
        sa.Column("claims", NAME, nullable=False),
        sa.Column("expires_at", NAME, nullable=False),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_table(
        "transactions",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", NAME, nullable=False),
        sa.Column("type", NAME, nullable=False),
        sa.Column("subject", NAME, nullable=True),
        sa.Column("description", NAME, nullable=False),
        sa.Column("reference", NAME, nullable=True),
        sa.Column("metadata", NAME, nullable=False),
        sa.Column("internal", NAME, nullable=True),
        sa.Column("actor", NAME, nullable=False),
        sa.Column("actor_role", NAME, nullable=False),
        sa.Column("reverses", NAME, nullable=True),
        sa.Column("effective_at", NAME, nullable=False),
        sa.Column("created_at", NAME, nullable=False),
        sa.Column("key_namespace", NAME, nullable=True),
        sa.Column("key_principal", NAME, nullable=True),
        sa.Column("key", NAME, nullable=True),
        sa.Column("fingerprint", NAME, nullable=False),
        sa.Column("encoded", NAME, nullable=False),
        sa.Column("content_hash", NAME, nullable=False),
        sa.CheckConstraint("position >= 1", name="position_positive"),
        sa.PrimaryKeyConstraint("position"),
        sa.UniqueConstraint("id"),
    )
    op.create_index(
        "transactions_by_key",
        "transactions",
        ["key_namespace", "key_principal", "key"],
        unique=True,
        postgresql_where=sa.text("key IS NOT NULL"),
        sqlite_where=sa.text("key IS NOT NULL"),
    )
    op.create_index(
        "transactions_by_reversed",
        "transactions",
        ["reverses"],
        unique=True,
        postgresql_where=sa.text("reverses IS NOT NULL"),
        sqlite_where=sa.text("reverses IS NOT NULL"),
    )
    op.create_index(
        "transactions_by_subject",
        "transactions",
        ["subject", "position"],
        unique=True,
        postgresql_where=sa.text("subject IS NOT NULL"),
        sqlite_where=sa.text("subject IS NOT NULL"),
    )
    if op.get_bind().dialect.name == "postgresql":
        _append_only_on_postgresql()
    else:
        _append_only_on_sqlite()


def _append_only_on_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION tallywire_append_only() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME"
        " USING ERRCODE = 'restrict_violation'; END $$"
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION tallywire_append_only()"
        )


def _append_only_on_sqlite() -> None:
    for table in APPEND_ONLY:
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table}"
                f" BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
