"""The schema's history: Alembic migrations with a version table of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from ..schema import metadata

VERSION_TABLE = "tallywire_version"

SchemaState = Literal["empty", "current", "older", "newer"]


def schema_state(connection: Connection) -> SchemaState:
    """How the database's schema stands to this program's."""
    context = MigrationContext.configure(
        connection,
        opts={
            "version_table": VERSION_TABLE,
            "version_table_schema": own_schema(connection),
        },
    )
    present = context.get_current_revision()
    if present is None:
        return "empty"
    scripts = ScriptDirectory.from_config(_config(connection))
    if present == scripts.get_current_head():
        return "current"
    known = {script.revision for script in scripts.walk_revisions()}
    return "older" if present in known else "newer"


def obstacle(connection: Connection) -> str | None:
    """Why the first schema cannot be made here, if so: a neighbour's tables, a missing schema."""
    if connection.dialect.name == "postgresql":
        missing = _missing_schema(connection)
        if missing is not None:
            return f"there is no schema {missing!r}, which the search path names first: make it"
    inspector, schema = inspect(connection), own_schema(connection)
    present = {*inspector.get_table_names(schema), *inspector.get_view_names(schema)}
    taken = sorted(present & metadata.tables.keys())
    if not taken:
        return None
    own = "schema" if connection.dialect.name == "postgresql" else "file"
    return (
        f"the database has tables of the ledger's names, which are not the ledger's:"
        f" {', '.join(taken)}; give the ledger a {own} of its own (docs/embedding.md)"
    )


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


def upgrade(connection: Connection) -> None:
    """Bring the schema to this program's, in the transaction that `connection` is in."""
    command.upgrade(_config(connection), "head")


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config
