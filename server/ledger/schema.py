"""The tables, the same on SQLite and PostgreSQL, as the newest migration leaves them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)

from .money import LARGEST, LARGEST_SCALE

metadata = MetaData()

# Names and times sort by code point on both databases.
_text = Text().with_variant(Text(collation="C"), "postgresql")
# SQLite numbers rows by itself only in a column declared INTEGER.
_number = BigInteger().with_variant(Integer(), "sqlite")


def _in_range(column: str) -> CheckConstraint:
    # On SQLite an overflowing sum would silently turn into a float; the range refuses that too.
    return CheckConstraint(f"{column} BETWEEN -{LARGEST} AND {LARGEST}", name=f"{column}_in_range")


def _where_present(name: str, column: str, *columns: str) -> Index:
    # Most rows have none of these: they cost nothing there.
    present = text(f"{column} IS NOT NULL")
    return Index(name, *columns, unique=True, postgresql_where=present, sqlite_where=present)


assets = Table(
    "assets",
    metadata,
    Column("code", _text, primary_key=True),
    Column("scale", Integer, nullable=False),
    CheckConstraint(f"scale BETWEEN 0 AND {LARGEST_SCALE}", name="scale_in_range"),
)

books = Table(
    "books",
    metadata,
    Column("name", _text, primary_key=True),
    Column("side", _text, nullable=False),
    Column("default_floor", _text),
    Column("accounts", _text, nullable=False),
    Column("self_service", Integer, nullable=False),
    Column("timezone", _text, nullable=False),
    Column("starts_on", _text),
    Column("closed_through", _text),
    CheckConstraint("side IN ('credit', 'debit')", name="side_known"),
    CheckConstraint("accounts IN ('open', 'strict')", name="accounts_known"),
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", _number, primary_key=True),
    Column("name", _text, nullable=False, unique=True),
    Column("book", _text, nullable=False),
    Column("owner", _text, nullable=False),
    Column("asset", _text, nullable=False),
    Column("balance", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("total_in", BigInteger, nullable=False),
    Column("total_out", BigInteger, nullable=False),
    Column("floor", BigInteger),
    Column("suspend_below", BigInteger),
    Column("alert_below", BigInteger),
    Column("status", _text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("digest", _text, nullable=False),
    Column("total_earned", BigInteger),
    _in_range("balance"),
    CheckConstraint("held >= 0", name="held_not_negative"),
    CheckConstraint("status IN ('active', 'suspended', 'frozen', 'closed')", name="status_known"),
    Index("accounts_by_owner", "owner"),
)

transactions = Table(
    "transactions",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("id", _text, nullable=False, unique=True),
    Column("type", _text, nullable=False),
    Column("subject", _text),
    Column("description", _text, nullable=False),
    Column("reference", _text),
    Column("metadata", _text, nullable=False),
    Column("internal", _text),
    Column("actor", _text, nullable=False),
    Column("actor_role", _text, nullable=False),
    Column("reverses", _text),
    Column("effective_at", _text, nullable=False),
    Column("created_at", _text, nullable=False),
    Column("key_namespace", _text),
    Column("key_principal", _text),
    Column("key", _text),
    Column("fingerprint", _text, nullable=False),
    Column("encoded", _text, nullable=False),
    Column("hold", _text),
    Column("trade", _text),
    Column("content_hash", _text, nullable=False),
    CheckConstraint("position >= 1", name="position_positive"),
    _where_present("transactions_by_key", "key", "key_namespace", "key_principal", "key"),
    _where_present("transactions_by_reversed", "reverses", "reverses"),
    _where_present("transactions_by_subject", "subject", "subject", "position"),
    _where_present("transactions_by_hold", "hold", "hold", "position"),
    _where_present("transactions_by_trade", "trade", "trade", "position"),
)

# `remaining` and `status` follow from the transactions that belong to the hold.
holds = Table(
    "holds",
    metadata,
    Column("id", _text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("account_id", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("remaining", BigInteger, nullable=False),
    Column("status", _text, nullable=False),
    Column("placed_by", _text, nullable=False),
    Column("expires_at", _text),
    Column("reference", _text),
    CheckConstraint("amount > 0 AND remaining BETWEEN 0 AND amount", name="remaining_fits"),
    CheckConstraint(
        "status IN ('open', 'confirmed', 'voided', 'expired')", name="hold_status_known"
    ),
    CheckConstraint("(status = 'open') = (remaining > 0)", name="open_while_it_remains"),
    Index("holds_by_position", "position"),
    Index("holds_by_account", "account_id", "position"),
    Index(
        "holds_by_expiry",
        "expires_at",
        postgresql_where=text("status = 'open'"),
        sqlite_where=text("status = 'open'"),
    ),
)

# `told` is the TRADE as the newest transaction of the trade tells it; the other columns find it.
trades = Table(
    "trades",
    metadata,
    Column("id", _text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("kind", _text, nullable=False),
    Column("user_id", _text, nullable=False),
    Column("book", _text, nullable=False),
    Column("pair", _text, nullable=False),
    Column("status", _text, nullable=False),
    Column("expires_at", _text),
    Column("client_order_id", _text),
    Column("payout", BigInteger),
    Column("forced", Integer, nullable=False),
    Column("told", _text, nullable=False),
    CheckConstraint("kind IN ('spot', 'option')", name="trade_kind_known"),
    CheckConstraint("(kind = 'spot') = (status = 'filled')", name="spot_filled"),
    CheckConstraint(
        "status IN ('filled', 'open', 'settled', 'refunded')", name="trade_status_known"
    ),
    CheckConstraint("(kind = 'option') = (expires_at IS NOT NULL)", name="option_expires"),
    CheckConstraint("forced = 0 OR book = 'demo'", name="forced_in_demo_only"),
    Index("trades_by_position", "position"),
    Index("trades_by_user", "user_id", "position"),
    _where_present("trades_by_client_order", "client_order_id", "user_id", "client_order_id"),
    Index(
        "trades_by_expiry",
        "expires_at",
        "id",
        postgresql_where=text("status = 'open'"),
        sqlite_where=text("status = 'open'"),
    ),
)

# What the open options of a book and pair may pay out besides their stakes.
exposures = Table(
    "exposures",
    metadata,
    Column("book", _text, primary_key=True),
    Column("pair", _text, primary_key=True),
    Column("amount", BigInteger, nullable=False),
    CheckConstraint("amount >= 0", name="exposure_not_negative"),
)

# `position` is the transaction that set the mode; null where none ever did.
trading_controls = Table(
    "trading_controls",
    metadata,
    Column("book", _text, primary_key=True),
    Column("user_id", _text, primary_key=True),
    Column("mode", _text, nullable=False),
    Column("position", BigInteger),
    CheckConstraint("mode IN ('win', 'normal', 'lose')", name="mode_known"),
    CheckConstraint("book = 'demo'", name="control_in_demo_only"),
)

# The columns from `seq` on are the account's state after the entry; system accounts have none.
postings = Table(
    "postings",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("amount", BigInteger, nullable=False),
    Column("held_change", BigInteger, nullable=False),
    Column("seq", BigInteger),
    Column("balance", BigInteger),
    Column("held", BigInteger),
    Column("total_in", BigInteger),
    Column("total_out", BigInteger),
    Column("floor", BigInteger),
    Column("suspend_below", BigInteger),
    Column("alert_below", BigInteger),
    Column("status", _text),
    Column("digest", _text),
    Column("total_earned", BigInteger),
    _in_range("amount"),
    Index("postings_by_account", "account_id", "position", unique=True),
)

clock = Table(
    "clock",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
    Column("epoch", _text, nullable=False),
    Column("seal", _text, nullable=False),
    Column("created_at", _text, nullable=False),
    Column("settings_version", BigInteger, nullable=False),
    Column("paused", Integer, nullable=False),
    Column("system_id", _text),
    CheckConstraint("id = 1", name="one_clock"),
)

seals = Table(
    "seals",
    metadata,
    Column("last", BigInteger, primary_key=True, autoincrement=False),
    Column("first", BigInteger, nullable=False),
    Column("created_at", _text, nullable=False),
    Column("seal", _text, nullable=False),
    Index("seals_by_time", "created_at"),
)

# `definition` is a Mirror as JSON; its id is the settings' version that it came with.
mirrors = Table(
    "mirrors",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("name", _text, nullable=False, unique=True),
    Column("definition", _text, nullable=False),
)

mirror_states = Table(
    "mirror_states",
    metadata,
    Column("mirror", BigInteger, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("written", BigInteger),
    Column("failure", _text),
    Index(
        "mirror_states_by_failure",
        "mirror",
        "account_id",
        postgresql_where=text("failure IS NOT NULL"),
        sqlite_where=text("failure IS NOT NULL"),
    ),
)

# `durations` is a list of Durations as JSON.
pairs = Table(
    "pairs",
    metadata,
    Column("pair", _text, primary_key=True),
    Column("base", _text, nullable=False),
    Column("quote", _text, nullable=False),
    Column("price_decimals", Integer, nullable=False),
    Column("minimum", BigInteger, nullable=False),
    Column("fee_bps", Integer, nullable=False),
    Column("durations", _text, nullable=False),
    Column("maximum_stake", BigInteger, nullable=False),
    Column("exposure_limit", BigInteger, nullable=False),
    Column("stale_after_s", Integer, nullable=False),
    Column("settlement_age_s", Integer, nullable=False),
    CheckConstraint("minimum > 0", name="minimum_positive"),
    CheckConstraint("fee_bps BETWEEN 0 AND 10000", name="fee_in_range"),
)

# The newest price of each pair (`number` 0: none yet), and until when it was traded by. Whoever
# stamps a price, or trades by one, holds the lock of the pair's row.
tickers = Table(
    "tickers",
    metadata,
    Column("pair", _text, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("price", BigInteger),
    Column("source", _text),
    Column("stamped_at", _text),
    Column("read_at", _text),
)

prices = Table(
    "prices",
    metadata,
    Column("pair", _text, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("price", BigInteger, nullable=False),
    Column("source", _text, nullable=False),
    Column("actor", _text, nullable=False),
    Column("told_at", _text),
    Column("stamped_at", _text, nullable=False),
    CheckConstraint("price > 0", name="price_positive"),
    CheckConstraint("source IN ('simulated', 'pushed')", name="price_source_known"),
    Index("prices_by_time", "pair", "stamped_at", unique=True),
)

revocations = Table(
    "revocations",
    metadata,
    Column("user_id", _text, primary_key=True),
    Column("revoked_at", BigInteger, nullable=False),
)

tickets = Table(
    "tickets",
    metadata,
    Column("hash", _text, primary_key=True),
    Column("claims", _text, nullable=False),
    Column("expires_at", _text, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", _text, primary_key=True),
    Column("holder", _text, nullable=False),
    Column("expires_at", _text, nullable=False),
)

verifications = Table(
    "verifications",
    metadata,
    Column("number", _number, primary_key=True),
    Column("id", _text, nullable=False, unique=True),
    Column("requested_by", _text, nullable=False),
    Column("kind", _text, nullable=False, server_default="verify"),
    Column("fix", Integer, nullable=False),
    Column("user_id", _text),
    Column("book", _text),
    Column("status", _text, nullable=False),
    Column("checked", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("report", _text),
    Column("error", _text),
    Column("started_at", _text, nullable=False),
    Column("alive_until", _text, nullable=False),
    Column("finished_at", _text),
    Column("due_at", _text),
    Column("attempt", Integer),
    # A scheduled moment is claimed by its row: the first to insert an attempt makes it.
    Index("verifications_by_moment", "kind", "due_at", "attempt", unique=True),
    CheckConstraint("status IN ('running', 'done', 'failed')", name="verification_status_known"),
)

# `position` is what the receiver was told last, `examined` what was looked at since; `message_*` is
# the message under way, if any. `generation` is another after each change by an operator.
webhooks = Table(
    "webhooks",
    metadata,
    Column("name", _text, primary_key=True),
    Column("url", _text, nullable=False),
    Column("filter", _text, nullable=False),
    Column("secret", _text, nullable=False),
    Column("status", _text, nullable=False),
    Column("generation", _text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("examined", BigInteger, nullable=False),
    Column("message_id", _text),
    Column("message_epoch", _text),
    Column("message_to", BigInteger),
    Column("attempts", BigInteger, nullable=False),
    Column("failing_since", _text),
    Column("next_attempt_at", _text),
    Column("last_error", _text),
    Column("last_delivered_at", _text),
    CheckConstraint("status IN ('active', 'paused')", name="webhook_status_known"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", _number, primary_key=True),
    Column("time", _text, nullable=False),
    Column("actor", _text, nullable=False),
    Column("action", _text, nullable=False),
    Column("target", _text, nullable=False),
    Column("details", _text, nullable=False),
)
