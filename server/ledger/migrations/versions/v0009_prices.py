"""Pairs, their newest prices, and all their prices; the first pairs, if their assets are there."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

# Each with the decimals that its least order needs.
FIRST_PAIRS = (("BTC", "USDT", 5), ("ETH", "USDT", 4))
DURATIONS = ((30, 8000), (60, 8500), (120, 8800), (300, 9000))


def upgrade() -> None:
    op.create_table(
        "pairs",
        sa.Column("pair", NAME, nullable=False),
        sa.Column("base", NAME, nullable=False),
        sa.Column("quote", NAME, nullable=False),
        sa.Column("price_decimals", sa.Integer(), nullable=False),
        sa.Column("minimum", sa.BigInteger(), nullable=False),
        sa.Column("fee_bps", sa.Integer(), nullable=False),
        sa.Column("durations", NAME, nullable=False),
        sa.Column("maximum_stake", sa.BigInteger(), nullable=False),
        sa.Column("exposure_limit", sa.BigInteger(), nullable=False),
        sa.Column("stale_after_s", sa.Integer(), nullable=False),
        sa.Column("settlement_age_s", sa.Integer(), nullable=False),
        sa.CheckConstraint("minimum > 0", name="minimum_positive"),
        sa.CheckConstraint("fee_bps BETWEEN 0 AND 10000", name="fee_in_range"),
        sa.PrimaryKeyConstraint("pair"),
    )
    op.create_table(
        "tickers",
        sa.Column("pair", NAME, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("price", sa.BigInteger()),
        sa.Column("source", NAME),
        sa.Column("stamped_at", NAME),
        sa.Column("read_at", NAME),
        sa.PrimaryKeyConstraint("pair"),
    )
    op.create_table(
        "prices",
        sa.Column("pair", NAME, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("source", NAME, nullable=False),
        sa.Column("actor", NAME, nullable=False),
        sa.Column("told_at", NAME),
        sa.Column("stamped_at", NAME, nullable=False),
        sa.CheckConstraint("price > 0", name="price_positive"),
        sa.CheckConstraint("source IN ('simulated', 'pushed')", name="price_source_known"),
        sa.PrimaryKeyConstraint("pair", "number"),
    )
    op.create_index("prices_by_time", "prices", ["pair", "stamped_at"], unique=True)
    _append_only()
    _first_pairs()


def _append_only() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE TRIGGER prices_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prices"
            " FOR EACH STATEMENT EXECUTE FUNCTION tallywire_append_only()"
        )
        return
    for action in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER prices_no_{action.lower()} BEFORE {action} ON prices"
            " BEGIN SELECT RAISE(ABORT, 'prices is append-only'); END"
        )


def _first_pairs() -> None:
    connection = op.get_bind()
    assets = connection.execute(sa.text("SELECT code, scale FROM assets"))
    scales = {row.code: row.scale for row in assets}
    durations = [{"duration_s": s, "payout_rate": rate} for s, rate in DURATIONS]
    for base, quote, decimals in FIRST_PAIRS:
        if base not in scales or quote not in scales or scales[base] < decimals:
            continue
        connection.execute(
            sa.text(
                "INSERT INTO pairs (pair, base, quote, price_decimals, minimum, fee_bps, durations,"
                " maximum_stake, exposure_limit, stale_after_s, settlement_age_s)"
                " VALUES (:pair, :base, :quote, 2, :minimum, 10, :durations, :stake, :exposure,"
                " 15, 60)"
            ),
            {
                "pair": f"{base}-{quote}",
                "base": base,
                "quote": quote,
                "minimum": 10 ** (scales[base] - decimals),
                "durations": json.dumps(durations, separators=(",", ":")),
                "stake": 1_000 * 10 ** scales[quote],
                "exposure": 100_000 * 10 ** scales[quote],
            },
        )
