"""What a user has earned: in every account's state, where anything was."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("accounts", "postings"):
        op.add_column(table, sa.Column("total_earned", sa.BigInteger()))
