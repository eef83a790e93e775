"""The site's own tables. No balance is among them: those are Tallywire's."""

from __future__ import annotations

import os

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    MetaData,
    String,
    Table,
    Text,
    make_url,
)

metadata = MetaData()

users = Table(
    "site_users",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("role", String(16), nullable=False),
)

sessions = Table(
    "site_sessions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("user_id", ForeignKey(users.c.id), nullable=False),
    Column("ip", String(45), nullable=False),
    Column("is_open", Boolean, nullable=False),
)

requests = Table(
    "site_requests",
    metadata,
    Column("id", String(255), primary_key=True),
    Column("clerk_id", ForeignKey(users.c.id), nullable=False),
    Column("ip", String(45), nullable=False),
)

notices = Table(
    "site_notices",
    metadata,
    Column("transaction_id", String(36), primary_key=True),
    Column("account", String(512), primary_key=True),
    Column("epoch", String(36), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("user_id", ForeignKey(users.c.id), nullable=False),
    Column("text", Text, nullable=False),
    Column("is_void", Boolean, nullable=False),
)


def database_url() -> str:
    """Where the site keeps them: DATABASE_URL, or a file in the current folder."""
    url = make_url(os.environ.get("DATABASE_URL", "sqlite:///site.db"))
    driver = {
        "sqlite": "sqlite+aiosqlite",
        "postgres": "postgresql+asyncpg",
        "postgresql": "postgresql+asyncpg",
    }
    url = url.set(drivername=driver.get(url.drivername, url.drivername))
    return url.render_as_string(hide_password=False)
