"""How Alembic runs these migrations: always on a connection that it is handed."""

from __future__ import annotations

from alembic import context
from tallywire.ledger.migrations import VERSION_TABLE
from tallywire.ledger.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
