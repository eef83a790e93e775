"""The building's own tables, beside the ledger's in one database. None of them has a balance."""

from __future__ import annotations

import os

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Integer,
    MetaData,
    String,
    Table,
    Uuid,
    make_url,
)
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

metadata = MetaData()

# Which apartment has how many mills, from a day on until the next division of that building.
divisions = Table(
    "divisions",
    metadata,
    Column("book", String(64), primary_key=True),
    Column("valid_from", Date, primary_key=True),
    Column("apartment", String(40), primary_key=True),
    Column("mills", Integer, nullable=False),
    CheckConstraint("mills >= 0", name="mills_not_negative"),
)

# An expense is never taken out of here: once deleted, it names the transaction that undid it.
expenses = Table(
    "expenses",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("book", String(64), nullable=False, index=True),
    Column("title", String(200), nullable=False),
    Column("category", String(80), nullable=False),
    Column("cents", BigInteger, nullable=False),
    Column("day", Date, nullable=False),
    Column("transaction_id", String(36), nullable=False, unique=True),
    Column("reversal_id", String(36), unique=True),
)

# receipt: pending, kept, or refused and then reversed; see `management.Building.take_payment`.
payments = Table(
    "payments",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("book", String(64), nullable=False, index=True),
    Column("apartment", String(40), nullable=False),
    Column("cents", BigInteger, nullable=False),
    Column("transaction_id", String(36), nullable=False, unique=True),
    Column("taken_at", DateTime, nullable=False),
    Column("receipt", String(10), nullable=False),
    CheckConstraint("receipt IN ('pending', 'kept', 'refused', 'reversed')", name="receipt_states"),
)


def database_url() -> str:
    """Where the building and its ledger are kept: DATABASE_URL, or a file in this folder."""
    return with_driver(os.environ.get("DATABASE_URL", "sqlite:///building.db"))


def engine_at(address: str) -> AsyncEngine:
    """The building's own connections. address: of the database, with its driver."""
    # On SQLite one writes at a time: seconds to wait for the others.
    waits = {"timeout": 60} if make_url(address).get_backend_name() == "sqlite" else {}
    return create_async_engine(address, connect_args=waits)


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
