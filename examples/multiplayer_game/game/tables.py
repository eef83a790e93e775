"""The game's own tables, beside the ledger's in one database."""

from __future__ import annotations

import os

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    MetaData,
    Numeric,
    String,
    Table,
    Uuid,
    make_url,
)

metadata = MetaData()

# The id of a game is part of its book's name, so both databases must write it with hyphens.
_game_id = String(36).with_variant(Uuid(as_uuid=False), "postgresql")

# A player in a multiplayer game. Nobody writes the balance but the ledger.
player_sessions = Table(
    "player_sessions",
    metadata,
    Column("game_id", _game_id, primary_key=True),
    Column("player_id", String(40), primary_key=True),
    Column("balance", Numeric(20, 2), nullable=False, server_default="0"),
)

# What the old single-player code knows. Its turn processing changes the balance by itself.
game_sessions = Table(
    "game_sessions",
    metadata,
    Column("game_id", _game_id, primary_key=True),
    Column("player_id", String(40), primary_key=True),
    Column("balance", Numeric(20, 2), nullable=False, server_default="0"),
)

orders = Table(
    "orders",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("game_id", _game_id, nullable=False),
    Column("player_id", String(40), nullable=False),
    Column("item", String(40), nullable=False),
    Column("cost_cents", BigInteger, nullable=False),
    CheckConstraint("cost_cents > 0", name="cost_positive"),
)


def database_url() -> str:
    """Where the game and its ledger are kept: DATABASE_URL, or a file in this folder."""
    return with_driver(os.environ.get("DATABASE_URL", "sqlite:///game.db"))


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
