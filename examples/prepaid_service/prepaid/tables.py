"""The service's own tables, beside the ledger's in one database. Amounts are whole dong."""

from __future__ import annotations

import os

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    make_url,
)

metadata = MetaData()

customers = Table(
    "customers",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(80), nullable=False),
)

# A virtual server that a customer rents.
services = Table(
    "services",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("customer_id", ForeignKey(customers.c.id), nullable=False),
    Column("plan", String(40), nullable=False),
    Column("price", BigInteger, nullable=False),
    CheckConstraint("price > 0", name="price_positive"),
)

# A period of a service that was paid: there is a row where there is a charge, and no other.
rendered = Table(
    "rendered",
    metadata,
    Column("transaction_id", String(36), primary_key=True),
    Column("service_id", ForeignKey(services.c.id), nullable=False),
    Column("period", String(20), nullable=False),
    Column("price", BigInteger, nullable=False),
    UniqueConstraint("service_id", "period"),
)


def database_url() -> str:
    """Where the service and its ledger are kept: DATABASE_URL, or a file in this folder."""
    return with_driver(os.environ.get("DATABASE_URL", "sqlite:///prepaid.db"))


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
