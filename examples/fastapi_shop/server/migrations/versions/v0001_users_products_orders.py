"""Users, products and their stock, orders."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("email", sa.String(254), nullable=False, unique=True),
    )
    products = op.create_table(
        "products",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("price_cents", sa.Integer, nullable=False),
        sa.Column("stock", sa.Integer, nullable=False),
        sa.CheckConstraint("stock >= 0", name="stock_not_negative"),
    )
    op.create_table(
        "orders",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("product", sa.String(40), sa.ForeignKey("products.name"), nullable=False),
        sa.Column("pieces", sa.Integer, nullable=False),
        sa.Column("price_cents", sa.Integer, nullable=False),
        sa.CheckConstraint("pieces > 0", name="pieces_positive"),
    )
    op.bulk_insert(
        products,
        [
            {"name": "tea", "price_cents": 2000, "stock": 1000},
            {"name": "teapot", "price_cents": 4550, "stock": 3},
        ],
    )


def downgrade() -> None:
    for table in ("orders", "products", "users"):
        op.drop_table(table)
