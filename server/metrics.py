"""Every metric that Tallywire shows on /metrics, named once (contract, section 7)."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

COMMITS = Counter("tallywire_commits_total", "Commits of the journal by this process.")
CHANGES = Counter(
    "tallywire_changes_total",
    "Changes that this process was asked for, by type and by result: accepted, replayed, or the"
    " code of the refusal.",
    ("type", "result"),
)
COMMIT_SECONDS = Histogram(
    "tallywire_commit_seconds",
    "Seconds from taking a batch to the end of its commit.",
    buckets=_SECONDS,
)
COMMIT_BATCH_CHANGES = Histogram(
    "tallywire_commit_batch_changes",
    "Changes that shared one commit.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
)
QUEUE_CHANGES = Gauge("tallywire_queue_changes", "Changes that wait for a batch.")
HEAD_POSITION = Gauge("tallywire_head_position", "The journal's newest position known here.")

FEED_POSITION = Gauge("tallywire_feed_position", "The position that the feed has handed on.")
FEED_GAPS = Counter(
    "tallywire_feed_gaps_total", "Holes in the positions that the feed closed from the journal."
)
FEED_SOURCE = Counter(
    "tallywire_feed_source_total",
    "Transactions handed on, by who had them first: local, bus or journal.",
    ("source",),
)
BUS_UP = Gauge("tallywire_bus_up", "1 while the bus between processes works, else 0.")

CONNECTIONS = Gauge(
    "tallywire_connections", "Open connections by kind: websocket or sse.", ("kind",)
)
SENT = Counter("tallywire_sent_total", "Messages sent to screens, by message type.", ("type",))
SENT_BYTES = Counter("tallywire_sent_bytes_total", "Bytes of messages sent to screens.")
COMMIT_TO_SEND_SECONDS = Histogram(
    "tallywire_commit_to_send_seconds",
    "Seconds from a commit to its handing over to the sockets.",
    buckets=_SECONDS,
)
CATCHING_UP = Gauge(
    "tallywire_catching_up_connections", "Connections that are being caught up from the journal."
)
RESUMES = Counter(
    "tallywire_resumes_total", "Connects that asked to resume: resumed or reset.", ("result",)
)
CLOSES = Counter("tallywire_closes_total", "Connections closed by us, by close code.", ("code",))
WEBHOOK_LAG = Gauge(
    "tallywire_webhook_lag_positions",
    "Positions up to the head that were not looked at yet for a webhook.",
    ("webhook",),
)
WEBHOOK_FAILED = Gauge(
    "tallywire_webhook_failed_attempts",
    "How many attempts to deliver to a webhook have failed in a row.",
    ("webhook",),
)
WEBHOOK_PAUSED = Gauge(
    "tallywire_webhook_paused", "1 while a webhook is paused, else 0.", ("webhook",)
)

PRICE_AGE = Gauge(
    "tallywire_price_age_seconds", "How long ago the newest price of a pair was stamped.", ("pair",)
)
OPTIONS_OVERDUE = Gauge(
    "tallywire_options_overdue_seconds",
    "How long ago the first expired of the options that are still open; 0 where none has.",
)

# Of whichever process verified: read from the record of verifications when they are asked for.
VERIFY_DISCREPANCIES = Gauge(
    "tallywire_verify_discrepancies",
    "Discrepancies that the newest finished verification of the whole ledger left.",
)
VERIFY_FINISHED = Gauge(
    "tallywire_verify_finished_timestamp_seconds",
    "When the newest verification of the whole ledger finished, by kind: verify or rebuild.",
    ("kind",),
)
VERIFY_FAILED = Gauge(
    "tallywire_verify_failed",
    "Verifications of the whole ledger that failed since one finished, by kind.",
    ("kind",),
)
