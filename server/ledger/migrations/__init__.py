"""The schema's history: Alembic migrations with a version table of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

VERSION_TABLE = "tallywire_version"

SchemaState = Literal["empty", "current", "older", "newer"]


def schema_state(connection: Connection) -> SchemaState:
    """How the database's schema stands to this program's."""
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    present = context.get_current_revision()
    if present is None:
        return "empty"
    scripts = ScriptDirectory.from_config(_config(connection))
    if present == scripts.get_current_head():
        return "current"
    known = {script.revision for script in scripts.walk_revisions()}
    return "older" if present in known else "newer"


def upgrade(connection: Connection) -> None:
    """Bring the schema to this program's, in the transaction that `connection` is in."""
    command.upgrade(_config(connection), "head")


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config
