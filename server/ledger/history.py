"""Reads of the journal: pages for the feed, a user's history, single transactions, the audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from .accounts import AccountKey
from .balances import read_head
from .clock import rfc3339
from .dialects import Sets
from .errors import InvalidCursor
from .holds import Hold
from .intents import Leg
from .journal import SELECT_HOLDS, committed_from, hold_from
from .money import format_amount
from .reversals import Original
from .statements import EffectiveReader
from .updates import Batch, Committed, UpdateFilter

PAGE_BYTES = 1 << 20
_COMMITTED = "t.position, t.id, t.type, t.encoded"
# What a transaction may belong to.
_BELONGS_TO = ("hold", "trade", "control")
_RECORD = (
    "t.subject, t.description, t.reference, t.metadata, t.internal, t.actor, t.actor_role,"
    " t.reverses, t.effective_at, t.created_at, t.key"
)


class HistoryFilter(Struct, frozen=True, kw_only=True):
    """
    Which of a user's updates are wanted; each selects whole updates.

    from_ (inclusive) and to (exclusive): times as stored; reference: a prefix where it ends
    in ``*``; metadata: values by key, compared as text.
    """

    type: str | None = None
    book: str | None = None
    asset: str | None = None
    from_: str | None = None
    to: str | None = None
    reference: str | None = None
    metadata: Mapping[str, str] = {}


class StoredTransaction(Struct, frozen=True):
    """One transaction with all that is stored of it."""

    committed: Committed
    record: Mapping[str, Any]
    postings: list[dict[str, str]]
    reversed_by: str | None

    def view(self, epoch: str) -> dict[str, Any]:
        """The contract's TRANSACTION object."""
        record = self.record
        internal = record["internal"]
        return {
            "epoch": epoch,
            "position": self.committed.position,
            "transaction_id": self.committed.transaction_id,
            "change_type": self.committed.type,
            "subject": record["subject"],
            "description": record["description"],
            "reference": record["reference"],
            "metadata": Raw(record["metadata"].encode()),
            "reverses": record["reverses"],
            "effective_at": record["effective_at"],
            "timestamp": record["created_at"],
            "internal": None if internal is None else Raw(internal.encode()),
            "actor": record["actor"],
            "actor_role": record["actor_role"],
            "idempotency_key": record["key"],
            "postings": self.postings,
            "reversed_by": self.reversed_by,
            **{k: v for k, v in self.committed.admin_fields().items() if k in _BELONGS_TO},
        }


class JournalReader(EffectiveReader):
    """Every read of the ledger: states, statements, and the journal itself."""

    async def page(self, after: int, limit: int = 500) -> list[Committed]:
        """
        The transactions after position `after`, in order: at most `limit`, and at most about
        1 MiB but always one.
        """
        async with self._database.read() as connection:
            return await _page(connection, after, limit)

    async def batch_after(self, after: int, epoch: str | None, limit: int) -> Batch | None:
        """
        The transactions after position `after`, bounded as `page` is; None where there are none
        yet. Raises InvalidCursor beyond the head, or where the journal's epoch is not `epoch`.
        """
        async with self._database.read() as connection:
            head = await read_head(connection)
            if epoch not in (None, head.epoch):
                raise InvalidCursor(f"the journal has another epoch now: {head.epoch}")
            if after > head.position:
                raise InvalidCursor(f"the journal ends at position {head.position}")
            found = await _page(connection, after, limit)
        if not found:
            return None
        return Batch(head.epoch, found[0].position, found[-1].position, tuple(found))

    async def page_before(self, before: int, limit: int) -> list[Committed]:
        """At most `limit` transactions below position `before`, newest first."""
        async with self._database.read() as connection:
            rows = await connection.execute(
                text(
                    f"SELECT {_COMMITTED} FROM transactions t WHERE t.position < :before"
                    " ORDER BY t.position DESC LIMIT :limit"
                ),
                {"before": before, "limit": limit},
            )
            return [committed_from(row) for row in rows]

    async def user_page(self, user_id: str, after: int, upto: int, limit: int) -> list[Committed]:
        """
        The transactions in (after, upto] that the user sees, in order; bounded as `page` is.
        """
        async with self._database.read() as connection:
            seen = await self._seen_by(connection, user_id)
            return await _bounded(
                connection,
                f"SELECT {_COMMITTED} FROM ({seen.ascending}) seen JOIN transactions t"
                " ON t.position = seen.position ORDER BY t.position LIMIT :limit",
                {**seen.parameters, "after": after, "upto": upto, "limit": limit},
            )

    async def user_count(self, user_id: str, after: int, upto: int, limit: int) -> int:
        """How many transactions in (after, upto] the user sees, counted up to `limit`."""
        async with self._database.read() as connection:
            seen = await self._seen_by(connection, user_id)
            counted = await connection.execute(
                text(
                    f"SELECT count(*) FROM (SELECT position FROM ({seen.ascending}) seen"
                    " LIMIT :limit) counted"
                ),
                {**seen.parameters, "after": after, "upto": upto, "limit": limit},
            )
            return int(counted.scalar_one())

    async def history(
        self, user_id: str, wanted: HistoryFilter, before: int | None, limit: int
    ) -> list[Committed]:
        """At most `limit` of the user's transactions below `before` that pass, newest first."""
        conditions, parameters = _conditions(wanted)
        found: list[Committed] = []
        below = (await self.head()).position + 1 if before is None else before
        async with self._database.read() as connection:
            seen = await self._seen_by(connection, user_id, wanted.book, wanted.asset)
            while len(found) < limit:
                rows = (
                    await connection.execute(
                        text(
                            f"SELECT {_COMMITTED}, t.subject, t.metadata FROM ({seen.all}) seen"
                            " JOIN transactions t ON t.position = seen.position"
                            f" WHERE {conditions} ORDER BY t.position DESC LIMIT :limit"
                        ),
                        {**seen.parameters, **parameters, "before": below, "limit": limit},
                    )
                ).all()
                found += [
                    committed_from(row)
                    for row in rows
                    if _metadata_fits(row.metadata, wanted) and _place_fits(row, user_id, wanted)
                ]
                if len(rows) < limit:
                    break
                below = rows[-1].position
        return found[:limit]

    async def transaction(self, transaction_id: str) -> StoredTransaction | None:
        """The transaction `transaction_id`, or None."""
        found = await self._stored("t.id = :id", {"id": transaction_id})
        return found[0] if found else None

    async def transactions(self, before: int | None, limit: int) -> list[StoredTransaction]:
        """At most `limit` transactions below position `before` (None: the newest), newest first."""
        if before is None:
            return await self._stored("1 = 1", {"limit": limit})
        return await self._stored("t.position < :before", {"before": before, "limit": limit})

    async def original(self, transaction_id: str) -> Original | None:
        """The transaction `transaction_id` as a reversal needs it, or None."""
        async with self._database.read() as connection:
            rows = (
                await connection.execute(
                    text(
                        "SELECT t.type, a.book, a.owner, a.asset, p.amount, p.total_earned,"
                        " (SELECT q.total_earned FROM postings q WHERE q.account_id = p.account_id"
                        " AND q.position < p.position ORDER BY q.position DESC LIMIT 1) AS earlier"
                        " FROM transactions t LEFT JOIN postings p ON p.position = t.position"
                        " LEFT JOIN accounts a ON a.id = p.account_id"
                        " WHERE t.id = :id ORDER BY a.name"
                    ),
                    {"id": transaction_id},
                )
            ).all()
        if not rows:
            return None
        legs = [
            Leg(AccountKey(row.book, row.owner, row.asset), row.amount)
            for row in rows
            if row.book is not None
        ]
        earned = any(row.total_earned != row.earlier for row in rows)
        return Original(transaction_id, rows[0].type, tuple(legs), earned)

    async def hold(self, hold_id: str) -> Hold | None:
        """The hold `hold_id`, or None."""
        found = await self._holds("h.id = :id", {"id": hold_id, "limit": 1})
        return found[0] if found else None

    async def holds(
        self, user_id: str | None, status: str | None, before: int | None, limit: int
    ) -> list[Hold]:
        """
        At most `limit` holds placed below position `before` (None: the newest), newest first.

        user_id, status: only those of that user, and of that status.
        """
        wanted = {"a.owner": user_id, "h.status": status}
        given = [(column, value) for column, value in wanted.items() if value is not None]
        conditions = ["h.position < :before"]
        conditions += [f"{column} = :value{i}" for i, (column, _) in enumerate(given)]
        return await self._holds(
            " AND ".join(conditions),
            {
                **{f"value{i}": value for i, (_, value) in enumerate(given)},
                "before": 2**62 if before is None else before,
                "limit": limit,
            },
        )

    async def expired_holds(self, before: int | None, limit: int) -> list[Hold]:
        """
        At most `limit` open holds whose time is over by this process's clock, newest first, and
        placed below the position `before`.
        """
        return await self._holds(
            "h.status = 'open' AND h.expires_at <= :now AND h.position < :before",
            {
                "now": rfc3339(self._clock.now()),
                "before": 2**62 if before is None else before,
                "limit": limit,
            },
        )

    async def _holds(self, condition: str, parameters: dict[str, Any]) -> list[Hold]:
        async with self._database.read() as connection:
            rows = await connection.execute(
                text(f"{SELECT_HOLDS} WHERE {condition} ORDER BY h.position DESC LIMIT :limit"),
                parameters,
            )
            return [hold_from(row) for row in rows]

    async def audit(self, before: int | None, limit: int) -> list[dict[str, Any]]:
        """At most `limit` audit rows with an id below `before`, newest first."""
        async with self._database.read() as connection:
            rows = await connection.execute(
                text(
                    "SELECT id, time, actor, action, target, details FROM audit"
                    " WHERE id < :before ORDER BY id DESC LIMIT :limit"
                ),
                {"before": 2**62 if before is None else before, "limit": limit},
            )
            return [{**r._mapping, "details": msgspec.json.decode(r.details)} for r in rows]

    async def _stored(self, condition: str, parameters: dict[str, Any]) -> list[StoredTransaction]:
        async with self._database.read() as connection:
            rows = (
                await connection.execute(
                    text(
                        f"SELECT {_COMMITTED}, {_RECORD}, (SELECT r.id FROM transactions r"
                        " WHERE r.reverses = t.id) AS reversed_by FROM transactions t"
                        f" WHERE {condition} ORDER BY t.position DESC LIMIT :limit"
                    ),
                    {"limit": 1, **parameters},
                )
            ).all()
            if not rows:
                return []
            legs = (
                await connection.execute(
                    text(
                        "SELECT p.position, a.name, a.book, a.asset, p.amount, p.held_change"
                        " FROM postings p JOIN accounts a ON a.id = p.account_id"
                        " WHERE p.position BETWEEN :first AND :last ORDER BY p.position, a.name"
                    ),
                    {"first": rows[-1].position, "last": rows[0].position},
                )
            ).all()
            catalog = await self._catalog_with(connection, {(r.book, r.asset) for r in legs})
        postings: dict[int, list[dict[str, str]]] = {row.position: [] for row in rows}
        for leg in legs:
            sign, scale = catalog.book(leg.book).stored_sign, catalog.asset(leg.asset).scale
            postings.setdefault(leg.position, []).append(
                {
                    "account": leg.name,
                    "amount": format_amount(sign * leg.amount, scale),
                    "held_change": format_amount(leg.held_change, scale),
                }
            )
        return [
            StoredTransaction(
                committed_from(row), dict(row._mapping), postings[row.position], row.reversed_by
            )
            for row in rows
        ]

    async def _seen_by(
        self,
        connection: AsyncConnection,
        user_id: str,
        book: str | None = None,
        asset: str | None = None,
    ) -> _Seen:
        """
        The positions that a user sees: of the user's accounts, in `book` and `asset` where given,
        and as a subject.
        """
        rows = await connection.execute(
            text("SELECT id, book, asset FROM accounts WHERE owner = :user"), {"user": user_id}
        )
        ids = [row.id for row in rows if book in (None, row.book) and asset in (None, row.asset)]
        return _Seen(self._database.dialect, ids, user_id)


class _Seen:
    """SQL for the positions that a user sees, by each account's own index."""

    def __init__(self, dialect: str, ids: Sequence[int], subject: str) -> None:
        self._sqlite = dialect == "sqlite"
        self._sets = Sets(dialect)
        self.parameters: dict[str, Any] = {
            "accounts": self._sets.parameter(ids),
            "subject": subject,
        }

    @property
    def ascending(self) -> str:
        """Those in (:after, :upto], from which the first :limit are exact."""
        return self._sql("position > :after AND position <= :upto", "ASC")

    @property
    def all(self) -> str:
        """Those below :before."""
        return self._sql("position < :before", None)

    def _sql(self, condition: str, order: str | None) -> str:
        limit = f"ORDER BY position {order} LIMIT :limit" if order else ""
        if self._sqlite:
            positions = (
                "SELECT position FROM postings WHERE account_id"
                f" {self._sets.among('accounts', 'bigint')} AND {condition}"
            )
        else:
            positions = (
                "SELECT p.position FROM unnest(CAST(:accounts AS bigint[])) AS w(id)"
                " CROSS JOIN LATERAL (SELECT position FROM postings WHERE account_id = w.id"
                f" AND {condition} {limit}) p"
            )
        positions += (
            f" UNION SELECT position FROM transactions WHERE subject = :subject AND {condition}"
        )
        return f"SELECT DISTINCT position FROM ({positions}) positions {limit}"


async def _page(connection: AsyncConnection, after: int, limit: int) -> list[Committed]:
    return await _bounded(
        connection,
        f"SELECT {_COMMITTED} FROM transactions t WHERE t.position > :after"
        " ORDER BY t.position LIMIT :limit",
        {"after": after, "limit": limit},
    )


async def _bounded(
    connection: AsyncConnection, statement: str, parameters: dict[str, Any]
) -> list[Committed]:
    """The transactions that `statement` selects, up to about PAGE_BYTES but always one."""
    page: list[Committed] = []
    size = 0
    result = await connection.stream(text(statement), parameters)
    async for row in result:
        page.append(committed_from(row))
        size += len(page[-1].encoded)
        if size > PAGE_BYTES:
            break
    await result.close()
    return page


def _conditions(wanted: HistoryFilter) -> tuple[str, dict[str, Any]]:
    conditions, parameters = ["1 = 1"], {}
    if wanted.type is not None:
        conditions.append("t.type = :type")
        parameters["type"] = wanted.type
    if wanted.from_ is not None:
        conditions.append("t.created_at >= :from_time")
        parameters["from_time"] = wanted.from_
    if wanted.to is not None:
        conditions.append("t.created_at < :to_time")
        parameters["to_time"] = wanted.to
    if wanted.reference is not None and wanted.reference.endswith("*"):
        prefix = wanted.reference[:-1]
        conditions.append(f"substr(t.reference, 1, {len(prefix)}) = :reference")
        parameters["reference"] = prefix
    elif wanted.reference is not None:
        conditions.append("t.reference = :reference")
        parameters["reference"] = wanted.reference
    return " AND ".join(conditions), parameters


def _metadata_fits(stored: str, wanted: HistoryFilter) -> bool:
    if not wanted.metadata:
        return True
    metadata = msgspec.json.decode(stored)
    return all(
        name in metadata and _as_text(metadata[name]) == value
        for name, value in wanted.metadata.items()
    )


def _place_fits(row: Any, user_id: str, wanted: HistoryFilter) -> bool:
    """Whether `row`, of an account that is wanted or of the user as its subject, is wanted."""
    if row.subject != user_id or (wanted.book is None and wanted.asset is None):
        return True
    place = UpdateFilter(book=wanted.book, asset=wanted.asset)
    update = dict(committed_from(row).user_bodies())[user_id]
    return place.matches(msgspec.json.decode(update))


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
