"""The application's own tables, beside the ledger's in one database."""

from __future__ import annotations

import os

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    make_url,
)

metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(40), nullable=False),
)

# What the payment pages read, in whole coins. Nobody writes the amounts but the ledger.
wallets = Table(
    "wallets",
    metadata,
    Column("user_id", ForeignKey("users.id"), primary_key=True),
    Column("balance", BigInteger, nullable=False, server_default="0"),
    Column("available", BigInteger, nullable=False, server_default="0"),
)

# What everybody reads who shows a user, from before there were wallets.
profiles = Table(
    "profiles",
    metadata,
    Column("user_id", ForeignKey("users.id"), primary_key=True),
    Column("deltacoin_balance", Numeric(12, 2), nullable=False, server_default="0"),
    Column("lifetime_earnings", Numeric(12, 2), nullable=False, server_default="0"),
    CheckConstraint("deltacoin_balance < 1000000", name="six_digits_are_shown"),
)

# One row for each of the ledger's transactions and user that it touched; "" where it touched none.
activity = Table(
    "activity",
    metadata,
    Column("transaction_id", String(36), primary_key=True),
    Column("user_id", String(128), primary_key=True),
    Column("position", BigInteger, nullable=False, index=True),
    Column("kind", String(64), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("at", String(32), nullable=False),
)

# Up to where the journal is in `activity`: one row.
activity_cursor = Table(
    "activity_cursor",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True),
    Column("position", BigInteger, nullable=False),
)


def database_url() -> str:
    """Where the application and its ledger are kept: DATABASE_URL, or a file in this folder."""
    return with_driver(os.environ.get("DATABASE_URL", "sqlite:///wallets.db"))


def with_driver(address: str) -> str:
    """The address of a database as SQLAlchemy's asyncio wants it."""
    url = make_url(address)
    driver = {
        "sqlite": "sqlite+aiosqlite",
        "postgres": "postgresql+asyncpg",
        "postgresql": "postgresql+asyncpg",
    }
    url = url.set(drivername=driver.get(url.drivername, url.drivername))
    return url.render_as_string(hide_password=False)
