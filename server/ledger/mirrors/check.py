"""MIRROR=LEDGER, page by page: every account beside its rows in other tables."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from ..accounts import Account, AccountKey, check_user_id
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

    def __init__(self, catalog: Catalog, accounts: Mapping[int, AccountKey]) -> None:
        """accounts: by id."""
        self.catalog = catalog
        self.accounts = accounts
        self.copies: list[Copy] = []
        self.unreadable: list[tuple[Mirror, str]] = []

    def discrepancies(self) -> list[Discrepancy]:
        """What is not right."""
        found = [each for copy in self.copies for each in check_copy(copy)]
        return found + [unreadable(mirror, said) for mirror, said in self.unreadable]

    def unopened(
        self, user_id: str, *, asset: str | None = None, book: str | None = None
    ) -> list[AccountKey]:
        """
        Accounts of `user_id`, perhaps in one `asset` or `book`, that mirrors which adopt may have
        rows for, and that are not on this page. Without a book those of patterns are not known.
        """
        adopting = [mirror for mirror in self.catalog.mirrors if mirror.adopts]
        keys = {
            AccountKey(book or mirror.book, user_id, mirror.asset)
            for mirror in adopting
            if asset in (None, mirror.asset)
        }
        opened = set(self.accounts.values())
        return [
            key
            for key in keys
            if key not in opened
            and key.book in self.catalog.books
            and any(mirror.row_of(key) for mirror in adopting)
        ]

    def wrong(self) -> list[Copy]:
        """The rows that are there and the ledger keeps, and that say something else."""
        return [c for c in self.copies if c.exists and c.mirror.writes and not c.is_right]

    def obstacles(self) -> list[str]:
        """What keeps rows that the ledger writes from being right."""
        found = [(mirror, said) for mirror, said in self.unreadable if mirror.writes]
        # One without a failure was written to by others once more, just now.
        found += [(c.mirror, c.state.failure or "") for c in self.wrong() if c.state is not None]
        return [f"mirror {mirror.name!r}: {said}" for mirror, said in found if said]


class MirrorCheck:
    """Compares mirrors with the ledger; changes nothing."""

    def __init__(self, database: Database, journal: Journal) -> None:
        self._database = database
        self._journal = journal
        self._rows = MirrorRows(database.dialect)
        self._sets = Sets(database.dialect)
        self._catalog: Catalog | None = None

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
        self, *, user_id: str | None = None, asset: str | None = None, book: str | None = None
    ) -> AsyncIterator[MirrorPage]:
        """The rows of all accounts, or of one user's, asset's or book's. As `MirrorSync.sync`."""
        if user_id is not None:
            check_user_id(user_id)
        only = {"owner": user_id, "asset": asset, "book": book}
        given = {name: value for name, value in only.items() if value is not None}
        conditions = ["id > :after", "owner NOT LIKE '@%'", *(f"{key} = :{key}" for key in given)]
        statement = (
            f"SELECT id, book, owner, asset FROM accounts WHERE {' AND '.join(conditions)}"
            f" ORDER BY id LIMIT {ACCOUNTS_PER_PAGE}"
        )
        after, full = _SMALLEST, True
        while full:
            page = await self._page(statement, {"after": after, **given})
            if book is not None:
                page.catalog.book(book)
            if asset is not None:
                page.catalog.asset(asset)
            # Whoever takes the page takes its time: no transaction is open meanwhile.
            yield page
            full = len(page.accounts) == ACCOUNTS_PER_PAGE and bool(page.catalog.mirrors)
            after = max(page.accounts, default=after)

    async def ids_of(self, keys: Sequence[AccountKey]) -> list[int]:
        """The ids of those of the accounts `keys` that there are."""
        async with self._database.read() as connection:
            found = await self._journal.account_ids(connection, [key.name for key in keys])
        return list(found.values())

    async def page_of(self, ids: Sequence[int]) -> MirrorPage:
        """The rows of the accounts `ids`."""
        among = self._sets.among("ids", "bigint")
        statement = f"SELECT id, book, owner, asset FROM accounts WHERE id {among}"
        return await self._page(statement, {"ids": self._sets.parameter(ids)})

    async def _page(self, statement: str, parameters: Mapping[str, Any]) -> MirrorPage:
        """The rows of the accounts that `statement` selects: id, book, owner, asset."""
        async with self._database.read() as connection:
            rows = (await connection.execute(text(statement), parameters)).all()
            accounts = {row[0]: AccountKey._make(row[1:]) for row in rows}
            # Not before the accounts: their books are then in it, however new.
            page = MirrorPage(await self._current(connection), accounts)
            await self._compare(connection, page)
        return page

    async def _current(self, connection: AsyncConnection) -> Catalog:
        """The catalog, read only where it is another: a database may have a book for each game."""
        version = (await self._journal.clock(connection)).settings_version
        if self._catalog is None or self._catalog.version != version:
            self._catalog = await self._journal.catalog(connection)
        return self._catalog

    async def _compare(self, connection: AsyncConnection, page: MirrorPage) -> None:
        catalog, accounts = page.catalog, page.accounts
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


def _has_value(mirror: Mirror, key: AccountKey, catalog: Catalog) -> bool:
    """A debit book has no available (contract, section 1)."""
    return mirror.value != "available" or catalog.book(key.book).side == "credit"


def _copy(
    mirror: Mirror, key: AccountKey, wanted: RowKey, catalog: Catalog, row: tuple[Any, ...]
) -> Copy:
    id_, balance, held, total_in, total_out, earned, *rest = row
    remembered, written, failure, stored, *texts = rest
    account = Account(id_, key, balance, held, total_in, total_out, total_earned=earned)
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
