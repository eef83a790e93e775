"""MIRROR=LEDGER, page by page: every account beside its rows in other tables."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from ..accounts import Account, AccountKey
from ..catalog import Catalog
from ..database import Database, classify, reason
from ..dialects import Sets
from ..invariants import Discrepancy
from ..journal import Journal
from .copies import Copy, check_copy, unreadable
from .mirror import Mirror, MirrorState, RowKey
from .rows import MirrorRows

ACCOUNTS_PER_PAGE = 500

_SMALLEST = -(2**63)


class MirrorPage:
    """Some accounts' rows, and the mirrors among theirs that cannot be read."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.copies: list[Copy] = []
        self.unreadable: list[tuple[Mirror, str]] = []

    def discrepancies(self) -> list[Discrepancy]:
        """What is not right."""
        found = [each for copy in self.copies for each in check_copy(copy)]
        return found + [unreadable(mirror, said) for mirror, said in self.unreadable]


class MirrorCheck:
    """Compares mirrors with the ledger; changes nothing."""

    def __init__(self, database: Database, journal: Journal) -> None:
        self._database = database
        self._journal = journal
        self._rows = MirrorRows(database.dialect)
        self._sets = Sets(database.dialect)

    async def check(
        self, *, user_id: str | None = None, book: str | None = None
    ) -> AsyncIterator[list[Discrepancy]]:
        """
        The discrepancies of each page of accounts, all or those of one user or book: drift,
        missing rows, rows that could not be written. Each row is compared with its account as
        of one moment, while traffic goes on.
        """
        async for page in self.pages(user_id=user_id, book=book):
            yield page.discrepancies()

    async def pages(
        self, *, user_id: str | None = None, book: str | None = None
    ) -> AsyncIterator[MirrorPage]:
        """Every account's rows. Raises UnknownBook."""
        async with self._database.read() as connection:
            catalog = await self._journal.catalog(connection)
        if book is not None:
            catalog.book(book)
        conditions = ["id > :after", "owner NOT LIKE '@%'"]
        given: dict[str, Any] = {"limit": ACCOUNTS_PER_PAGE}
        if user_id is not None:
            conditions.append("owner = :user_id")
            given["user_id"] = user_id
        if book is not None:
            conditions.append("book = :book")
            given["book"] = book
        statement = text(
            f"SELECT id, book, owner, asset FROM accounts WHERE {' AND '.join(conditions)}"
            " ORDER BY id LIMIT :limit"
        )
        after = _SMALLEST
        while catalog.mirrors:
            async with self._database.read() as connection:
                rows = (await connection.execute(statement, {"after": after, **given})).all()
                if not rows:
                    return
                after = rows[-1].id
                accounts = {row[0]: AccountKey._make(row[1:]) for row in rows}
                page = await self._compare(connection, catalog, accounts)
            # Whoever takes the page takes its time: no transaction is open meanwhile.
            yield page

    async def page_of(self, ids: Sequence[int]) -> MirrorPage:
        """The rows of the accounts `ids`."""
        async with self._database.read() as connection:
            catalog = await self._journal.catalog(connection)
            rows = await connection.execute(
                text(
                    "SELECT id, book, owner, asset FROM accounts WHERE id "
                    + self._sets.among("ids", "bigint")
                ),
                {"ids": self._sets.parameter(ids)},
            )
            accounts = {row[0]: AccountKey._make(row[1:]) for row in rows}
            return await self._compare(connection, catalog, accounts)

    async def _compare(
        self, connection: AsyncConnection, catalog: Catalog, accounts: dict[int, AccountKey]
    ) -> MirrorPage:
        page = MirrorPage(catalog)
        for mirror in catalog.mirrors:
            wanted = {
                id_: row
                for id_, key in accounts.items()
                if (row := mirror.row_of(key)) is not None and _has_value(mirror, key, catalog)
            }
            if not wanted:
                continue
            try:
                found = await self._rows.compare(connection, mirror, wanted)
            except SQLAlchemyError as error:
                if classify(error) == "retry":
                    raise
                await connection.rollback()
                page.unreadable.append((mirror, reason(error)))
                continue
            for found_row in found:
                id_: int = found_row[0]
                page.copies.append(_copy(mirror, accounts[id_], wanted[id_], catalog, found_row))
        return page


def _has_value(mirror: Mirror, key: AccountKey, catalog: Catalog) -> bool:
    """A debit book has no available (contract, section 1)."""
    return mirror.value != "available" or catalog.book(key.book).side == "credit"


def _copy(
    mirror: Mirror, key: AccountKey, wanted: RowKey, catalog: Catalog, row: tuple[Any, ...]
) -> Copy:
    id_, balance, held, total_in, total_out, remembered, written, failure, stored, *texts = row
    account = Account(id_, key, balance, held, total_in, total_out)
    exists = bool(wanted) and tuple(texts) == wanted
    return Copy(
        mirror=mirror,
        account=key,
        account_id=id_,
        scale=catalog.asset(key.asset).scale,
        exists=exists,
        stored=stored if exists else None,
        actual=mirror.value_of(account, catalog.book(key.book).stored_sign),
        state=None if remembered is None else MirrorState(written, failure),
    )
