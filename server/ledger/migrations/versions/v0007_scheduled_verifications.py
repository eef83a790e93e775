"""Verifications by schedule: of which kind one is, and the moment that it was made for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("verifications", sa.Column("kind", NAME, nullable=False, server_default="verify"))
    op.add_column("verifications", sa.Column("due_at", NAME))
    op.add_column("verifications", sa.Column("attempt", sa.Integer()))
    op.create_index(
        "verifications_by_moment", "verifications", ["kind", "due_at", "attempt"], unique=True
    )
