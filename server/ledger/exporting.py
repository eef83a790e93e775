"""
Exporting the journal: everything up to the head of the moment, page by page, while traffic goes on.

Each page is a short transaction of its own. What is below the head never changes, so the pages
agree with one another, and no long snapshot slows the writers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from hashlib import sha256
from typing import Any

from msgspec import Struct
from sqlalchemy import TextClause, text

from .catalog import Catalog
from .database import Database
from .journal import ClockState, Journal
from .journal_lines import (
    FORMAT,
    POSTING_COLUMNS,
    VERSION,
    Audit,
    End,
    Header,
    Line,
    Posting,
    Price,
    Revocation,
    Seal,
    Transaction,
    encode_line,
)
from .proof.journal_pages import BYTES_PER_PAGE, TRANSACTIONS_PER_PAGE
from .proof.queries import Statements, rows
from .report import Progress

ROWS_PER_PAGE = 1000


class Exported(Struct, frozen=True):
    """Up to where the journal was exported, and that position's seal, which is worth noting."""

    position: int
    seal: str


class Exporter:
    """Reads the whole ledger in `database` for a file; changes nothing."""

    def __init__(self, database: Database, journal: Journal) -> None:
        self._database = database
        self._journal = journal
        self._statements = Statements(database.dialect)

    async def export(
        self, write: Callable[[bytes], object], progress: Progress | None = None
    ) -> Exported:
        """
        `write` every line (`journal_lines`), in order. progress: called after each page with the
        position that was reached and the last one. Raises what `write` raises.
        """
        async with self._database.read() as connection:
            clock = await self._journal.clock(connection)
            # Read after the clock: whatever has an account at its position is in it.
            catalog = await self._journal.catalog(connection)
            last_audit = (await connection.execute(_LAST_AUDIT)).scalar_one()
            # So are the prices that anything up to its position was traded by.
            last_prices = {
                pair: (await connection.execute(_LAST_PRICE, {"pair": pair})).scalar_one()
                for pair in sorted(catalog.pairs)
            }
        hashed, counts = sha256(), Counter[type[Line]]()
        postings = 0
        async for line in self._lines(clock, catalog, last_prices, last_audit):
            counts[type(line)] += 1
            if isinstance(line, Transaction):
                postings += len(line.postings)
                if progress is not None and line.position % TRANSACTIONS_PER_PAGE == 0:
                    progress(line.position, clock.position)
            encoded = encode_line(line)
            hashed.update(encoded)
            write(encoded)
        end = End(
            seals=counts[Seal],
            transactions=counts[Transaction],
            postings=postings,
            audit=counts[Audit],
            revocations=counts[Revocation],
            prices=counts[Price],
            sha256=hashed.hexdigest(),
        )
        write(encode_line(end))
        return Exported(clock.position, clock.seal)

    async def _lines(
        self,
        clock: ClockState,
        catalog: Catalog,
        last_prices: Mapping[str, int],
        last_audit: int,
    ) -> AsyncIterator[Line]:
        yield Header(
            format=FORMAT,
            version=VERSION,
            epoch=clock.epoch,
            position=clock.position,
            seal=clock.seal,
            assets={asset.code: asset.scale for asset in catalog.assets.values()},
            books=list(catalog.books.values()),
            pairs=[catalog.pairs[name] for name in sorted(catalog.pairs)],
        )
        for pair, last in last_prices.items():
            async for line in self._rest(_PRICES, Price, 0, pair=pair, last=last):
                yield line
        after = 0
        while after < clock.position:
            page, seals = await self._page(after, clock.position)
            for transaction in page:
                if transaction.position in seals:
                    yield seals[transaction.position]
                yield transaction
            after = page[-1].position if page else clock.position
        async for line in self._rest(_AUDIT, Audit, 0, last=last_audit):
            yield line
        async for line in self._rest(_REVOCATIONS, Revocation, ""):
            yield line

    async def _page(self, after: int, head: int) -> tuple[list[Transaction], dict[int, Seal]]:
        """The next transactions above `after`, and the seals by their first position."""
        statements = self._statements
        async with self._database.read() as connection:
            transactions = await rows(
                connection,
                statements.transactions,
                after=after,
                head=head,
                limit=TRANSACTIONS_PER_PAGE,
                bytes=BYTES_PER_PAGE,
            )
            upto = transactions[-1].position if transactions else head
            postings: dict[int, list[Posting]] = {}
            for position, *columns in await rows(connection, _POSTINGS, after=after, upto=upto):
                postings.setdefault(position, []).append(_posting(columns))
            # Not more batches than transactions; the first may have begun on the page before.
            limit = len(transactions) + 1
            found = await rows(connection, statements.seals, after=after, head=head, limit=limit)
            seals = {row.first: Seal(**row._mapping) for row in found}
        page = [
            Transaction(**row._mapping, postings=postings.get(row.position, []))
            for row in transactions
        ]
        return page, seals

    async def _rest(
        self,
        statement: TextClause,
        kind: type[Audit | Price | Revocation],
        after: Any,
        **parameters: Any,
    ) -> AsyncIterator[Line]:
        """The rows of a table above `after` by their first column, which is left out."""
        while True:
            async with self._database.read() as connection:
                page = await rows(
                    connection, statement, after=after, limit=ROWS_PER_PAGE, **parameters
                )
            for _, *columns in page:
                yield kind(**dict(zip(kind.__struct_fields__, columns, strict=True)))
            if len(page) < ROWS_PER_PAGE:
                return
            after = page[-1][0]


def _posting(columns: list[Any]) -> Posting:
    return Posting(**dict(zip(Posting.__struct_fields__, columns, strict=True)))


_POSTINGS = text(
    f"SELECT p.position, a.name, {', '.join(f'p.{name}' for name in POSTING_COLUMNS)}"
    " FROM postings p JOIN accounts a ON a.id = p.account_id"
    " WHERE p.position > :after AND p.position <= :upto ORDER BY p.position, a.name"
)
_LAST_PRICE = text("SELECT COALESCE(max(number), 0) FROM prices WHERE pair = :pair")
_PRICES = text(
    f"SELECT number, {', '.join(Price.__struct_fields__)} FROM prices"
    " WHERE pair = :pair AND number > :after AND number <= :last ORDER BY number LIMIT :limit"
)
_LAST_AUDIT = text("SELECT COALESCE(max(id), 0) FROM audit")
_AUDIT = text(
    "SELECT id, time, actor, action, target, details FROM audit"
    " WHERE id > :after AND id <= :last ORDER BY id LIMIT :limit"
)
_REVOCATIONS = text(
    "SELECT user_id, user_id, revoked_at FROM revocations"
    " WHERE user_id > :after ORDER BY user_id LIMIT :limit"
)
