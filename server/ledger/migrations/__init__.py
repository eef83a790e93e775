"""The schema's history: Alembic migrations with a version table of their own."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Literal

from sqlalchemy import (
    Connection,
    String,
    column,
    create_engine,
    inspect,
    select,
    table,
    text,
)

from ..schema import metadata

VERSION_TABLE = "tallywire_version"

SchemaState = Literal["empty", "current", "older", "newer"]


def schema_state(connection: Connection) -> SchemaState:
    """How the database's schema stands to this program's."""
    present = _revision(connection)
    if present is None:
        return "empty"
    known = revisions()
    if present == known[-1]:
        return "current"
    return "older" if present in known else "newer"


def revisions() -> list[str]:
    """All revisions, oldest first, by the names of their files: v0007_*.py is 0007."""
    files = (Path(__file__).parent / "versions").glob("v*.py")
    return sorted(file.name[1:].partition("_")[0] for file in files)


def _revision(connection: Connection) -> str | None:
    """The revision that the database's schema is at; None where there is none."""
    own = own_schema(connection)
    if not inspect(connection).has_table(VERSION_TABLE, own):
        return None
    version = select(column("version_num", String)).select_from(table(VERSION_TABLE, schema=own))
    present: str | None = connection.execute(version).scalar_one_or_none()
    return present


def obstacle(connection: Connection) -> str | None:
    """
    Why this program's schema cannot be made of what is here, if so: a neighbour's tables, or no
    schema to make the first in.
    """
    revision = _revision(connection)
    if revision is not None and revision not in revisions()[:-1]:
        return None
    if revision is None and connection.dialect.name == "postgresql":
        missing = _missing_schema(connection)
        if missing is not None:
            return f"there is no schema {missing!r}, which the search path names first: make it"
    inspector, schema = inspect(connection), own_schema(connection)
    present = {*inspector.get_table_names(schema), *inspector.get_view_names(schema)}
    taken = sorted(present & metadata.tables.keys() - _tables_at(revision))
    if not taken:
        return None
    own = "schema" if connection.dialect.name == "postgresql" else "file"
    return (
        f"the database has tables of the ledger's names, which are not the ledger's:"
        f" {', '.join(taken)}; rename them, or give the ledger a {own} of its own"
        " (docs/embedding.md)"
    )


def _tables_at(revision: str | None) -> set[str]:
    """The tables that a schema has at `revision`: those of one that is made to be asked."""
    if revision is None:
        return set()
    engine = create_engine("sqlite://")
    try:
        with engine.begin() as connection:
            upgrade(connection, revision)
            return {*inspect(connection).get_table_names()}
    finally:
        engine.dispose()


def _missing_schema(connection: Connection) -> str | None:
    """The first schema of the search path where it does not exist; the next would be taken."""
    query = "SELECT current_schema(), current_setting('search_path')"
    current, path = connection.execute(text(query)).one()
    first: str = path.split(",")[0].strip().strip('"')
    return None if first in ("$user", "", current) else first


def own_schema(connection: Connection) -> str | None:
    """The schema where tables are made, not those further along PostgreSQL's search path."""
    postgres = connection.dialect.name == "postgresql"
    return connection.dialect.default_schema_name if postgres else None


def load() -> None:
    """Import what `upgrade` needs: not in every process, and not while others wait for its lock."""
    import_module("alembic.command")


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Bring the schema to `revision`, this program's, in the transaction `connection` is in."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
