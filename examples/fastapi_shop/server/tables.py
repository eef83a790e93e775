"""The shop's own tables, beside the ledger's in one database."""

from __future__ import annotations

import os

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Uuid,
    make_url,
)

metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("email", String(254), nullable=False, unique=True),
)

products = Table(
    "products",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("price_cents", Integer, nullable=False),
    Column("stock", Integer, nullable=False),
    CheckConstraint("stock >= 0", name="stock_not_negative"),
)

orders = Table(
    "orders",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", ForeignKey(users.c.id), nullable=False),
    Column("product", ForeignKey(products.c.name), nullable=False),
    Column("pieces", Integer, nullable=False),
    Column("price_cents", Integer, nullable=False),
    CheckConstraint("pieces > 0", name="pieces_positive"),
)


def database_url() -> str:
    """Where the shop and its ledger are kept: DATABASE_URL, or a file beside the shop."""
    url = make_url(os.environ.get("DATABASE_URL", "sqlite:///shop.db"))
    driver = {
        "sqlite": "sqlite+aiosqlite",
        "postgres": "postgresql+asyncpg",
        "postgresql": "postgresql+asyncpg",
    }
    url = url.set(drivername=driver.get(url.drivername, url.drivername))
    return url.render_as_string(hide_password=False)
