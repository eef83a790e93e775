"""The journal, read page by page for its walk; each page is a short transaction of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from ..accounts import AccountKey
from ..catalog import Catalog
from ..database import Database
from ..digest import GENESIS
from ..report import Findings
from ..trading.price_rows import PriceRows
from ..transaction_types import TransactionTypes
from .journal_walk import Ends, JournalWalk, LoggedSeal, Original, Record, check_ends
from .queries import TRANSACTION_COLUMNS, Statements, rows
from .stored import StoredEntry, StoredSeal
from .trades import Around, Opening, moments

TRANSACTIONS_PER_PAGE = 250
BYTES_PER_PAGE = 1 << 20


class JournalPages:
    """The journal up to its end at the start, `head`, and what its walk made of it."""

    def __init__(
        self,
        database: Database,
        statements: Statements,
        catalog: Catalog,
        types: TransactionTypes,
        ends: Ends,
    ) -> None:
        self._database = database
        self._statements = statements
        self._catalog = catalog
        self._types = types
        self._ends = ends
        self._walk: JournalWalk | None = None
        self.head = ends.transactions

    async def look_for(self, logged: LoggedSeal, findings: Findings) -> None:
        """A seal that the journal had must still be there, and with it all that it vouches for."""
        async with self._database.read(any_text=True) as connection:
            found = await rows(connection, self._statements.seal, position=logged.position)
        findings.report(logged.check(found[0][0] if found else None))

    async def walk(self, findings: Findings) -> None:
        """Every transaction by position, with its postings and its seal."""
        self._walk = walk = JournalWalk(self._catalog, self._types)
        if findings.report(check_ends(self._ends)):
            walk.distrust_everything()
        after = 0
        while after < self.head:
            after = await self._page(walk, after, findings)

    async def is_sound(self, name: str, newest: int) -> bool:
        """
        Whether the journal has no fault that can have to do with that account, trade or subject,
        whose newest transaction is at that position (0 where any fault has); walks it if need be.
        """
        if self._walk is None:
            await self.walk(Findings(None))
        assert self._walk is not None
        return self._walk.is_sound(name, newest)

    async def contents_are_sound(self, account_id: int) -> bool:
        """Whether every transaction that has an entry of the account has its content hash."""
        walk = JournalWalk(self._catalog, self._types)
        after = 0
        while True:
            async with self._database.read(any_text=True) as connection:
                records = _records(
                    await rows(
                        connection,
                        self._statements.transactions_of,
                        account_id=account_id,
                        after=after,
                        limit=TRANSACTIONS_PER_PAGE,
                    )
                )
                if not records:
                    return True
                positions = self._statements.set(record["position"] for record in records)
                postings = _entries(
                    await rows(connection, self._statements.postings_at, positions=positions)
                )
                accounts = await self._accounts(connection, postings)
                originals = await read_originals(connection, self._statements, records)
                around = await read_around(connection, self._statements, records)
            legs = _by_position(postings)
            for record in records:
                at = legs.get(record["position"], [])
                if any(walk.contents(record, at, accounts, originals, around)):
                    return False
            after = records[-1]["position"]

    async def _page(self, walk: JournalWalk, after: int, findings: Findings) -> int:
        statements, head = self._statements, self.head
        async with self._database.read(any_text=True) as connection:
            records = _records(
                await rows(
                    connection,
                    statements.transactions,
                    after=after,
                    head=head,
                    limit=TRANSACTIONS_PER_PAGE,
                    bytes=BYTES_PER_PAGE,
                )
            )
            if not records:
                return head
            upto: int = records[-1]["position"]
            postings = _entries(await rows(connection, statements.postings, after=after, upto=upto))
            accounts = await self._accounts(connection, postings)
            originals = await read_originals(connection, self._statements, records)
            around = await read_around(connection, self._statements, records)
            while walk.seals_read_to < upto:
                seals = await rows(
                    connection,
                    statements.seals,
                    after=walk.seals_read_to,
                    head=head,
                    limit=TRANSACTIONS_PER_PAGE,
                )
                if not seals:
                    break
                walk.add_seals(StoredSeal._make(row) for row in seals)
        legs = _by_position(postings)
        for record in records:
            at = legs.get(record["position"], [])
            findings.report(walk.transaction(record, at, accounts, originals, around))
        findings.advance(len(records))
        return upto

    async def _accounts(
        self, connection: AsyncConnection, postings: Sequence[StoredEntry]
    ) -> dict[int, AccountKey]:
        """The accounts of `postings` by id, those that are there and whose names are texts."""
        ids = {p.account_id for p in postings if isinstance(p.account_id, int)}
        return {
            row[0]: AccountKey._make(row[1:])
            for row in await rows(
                connection, self._statements.account_keys, ids=self._statements.set(ids)
            )
            if all(isinstance(part, str) for part in row[1:])
        }


async def read_originals(
    connection: AsyncConnection, statements: Statements, records: Sequence[Record]
) -> dict[str, Original]:
    """What the transactions of a page reverse, by id."""
    ids = {r["reverses"] for r in records if isinstance(r["reverses"], str)}
    if not ids:
        return {}
    found = await rows(connection, statements.originals, ids=statements.set(ids))
    legs: dict[int, dict[int, int]] = {row[1]: {} for row in found}
    for position, account_id, amount in await rows(
        connection, statements.legs, positions=statements.set(legs)
    ):
        legs[position][account_id] = amount
    return {
        id_: Original(position, kind, legs[position], first) for id_, position, kind, first in found
    }


async def read_around(
    connection: AsyncConnection, statements: Statements, records: Sequence[Record]
) -> Around:
    """What the trades of a page's transactions are held against."""
    ids = {r["trade"] for r in records if isinstance(r["trade"], str)}
    if not ids:
        return Around()
    found = await rows(connection, statements.openings, ids=statements.set(ids))
    openings = {id_: Opening(*rest) for id_, *rest in found}
    wanted = sorted({moment for record in records for moment in moments(record)})
    dialect = connection.dialect.name
    prices = await PriceRows(dialect).at_or_before(connection, wanted) if wanted else {}
    return Around(openings, prices)


def ends_of(row: Any) -> Ends:
    """The ends of the journal by a row of `Statements.bounds`."""
    return Ends(
        clock=row.position,
        clock_seal=row.seal,
        clock_time=row.created_at,
        transactions=row.transactions or 0,
        postings=row.postings or 0,
        seals=row.seals or 0,
        last_seal=row.last_seal or GENESIS,
        last_time=row.last_time,
        beyond=row.beyond,
    )


def _records(found: Sequence[Any]) -> list[Record]:
    return [dict(zip(TRANSACTION_COLUMNS, row, strict=True)) for row in found]


def _entries(found: Sequence[Any]) -> list[StoredEntry]:
    return [StoredEntry._make(row) for row in found]


def _by_position(postings: Sequence[StoredEntry]) -> Mapping[int, list[StoredEntry]]:
    by_position: dict[int, list[StoredEntry]] = {}
    for posting in postings:
        by_position.setdefault(posting.position, []).append(posting)
    return by_position
