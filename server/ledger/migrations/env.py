"""How Alembic runs these migrations: always on a connection that it is handed."""

from __future__ import annotations

from alembic import context
from tallywire.ledger.migrations import VERSION_TABLE, own_schema
from tallywire.ledger.schema import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    version_table_schema=own_schema(connection),
)
with context.begin_transaction():
    context.run_migrations()
