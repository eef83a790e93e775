"""
Verification: every invariant over the whole ledger, while traffic flows.

Works up to a head taken at the start, in pages that are each a short transaction of their
own, and keeps no more than a page. The journal below the head never changes, so pages of it
agree with one another; whatever moves on is compared within one statement.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ..database import Database
from ..errors import UnknownAsset, UnknownBook, UnknownUser
from ..history import JournalReader
from ..invariants import Discrepancy, check_trial_balance
from ..journal import Journal
from ..mirrors.check import MirrorCheck
from ..report import Findings, Progress, Report
from ..transaction_types import TransactionTypes
from .account_pages import AccountPages, Repairs
from .journal_pages import JournalPages, ends_of
from .journal_walk import LoggedSeal
from .queries import Selection, Statements, rows
from .trading_pages import TradingPages


class Verifier:
    """Verifies the ledger in `database`; changes nothing by itself."""

    def __init__(
        self,
        database: Database,
        journal: Journal,
        reader: JournalReader,
        mirrors: MirrorCheck,
        types: TransactionTypes,
    ) -> None:
        self._database = database
        self._journal = journal
        self._reader = reader
        self._mirrors = mirrors
        self._types = types
        self._statements = Statements(database.dialect)

    async def check_scope(self, user_id: str | None, book: str | None) -> None:
        """Raise UnknownUser, UnknownBook where there is nothing to verify."""
        async with self._database.read() as connection:
            if book is not None:
                (await self._journal.catalog(connection)).book(book)
            if user_id is None:
                return
            count, parameters = self._statements.count_accounts(Selection(2**63 - 1, (user_id,)))
            if not (await connection.execute(count, parameters)).scalar_one():
                raise UnknownUser(f"{user_id!r} has no account here")

    async def verify(
        self,
        *,
        user_id: str | None = None,
        book: str | None = None,
        asset: str | None = None,
        accounts_only: bool = False,
        logged: Sequence[LoggedSeal] = (),
        repairs: Repairs | None = None,
        progress: Progress | None = None,
    ) -> Report:
        """
        Check every invariant, or those of the accounts of `user_id`, `book` or `asset` alone, or
        `accounts_only`: all of them, without the journal's own.

        logged: seals noted outside of the database, which the journal must still have; repairs:
        what puts right what can be; progress: called after each page with what is checked so far
        and in all, transactions and accounts. Raises UnknownUser, UnknownBook where there is
        nothing to check.
        """
        await self.check_scope(user_id, book)
        findings = Findings(progress)
        journal, accounts, trading, last_account = await self._open(findings, repairs)
        users = None if user_id is None else (user_id,)
        selection = Selection(last_account, users, book, asset)
        findings.total = await accounts.count(selection)
        for seal in logged:
            await journal.look_for(seal, findings)
        if selection.whole and not accounts_only:
            findings.total += journal.head
            await journal.walk(findings)
        await accounts.walk(selection)
        if asset is None:
            await trading.walk(selection, prices=not accounts_only)
        if user_id is None and asset is None:
            findings.report(check_trial_balance(await self._sums(book)))
        return findings.summary()

    async def compare(
        self, users: Collection[str], *, book: str | None = None, asset: str | None = None
    ) -> list[Discrepancy]:
        """
        Where the accounts of `users` differ from their last entries, which are taken as they are:
        the quick look.
        """
        findings = Findings(None)
        _, accounts, _, last_account = await self._open(findings, None)
        await accounts.walk(Selection(last_account, users, book, asset), history=False)
        return findings.summary().details

    async def users(self, after: str, limit: int) -> list[str]:
        """At most `limit` users with accounts, in order, behind `after`."""
        async with self._database.read() as connection:
            found: Sequence[Any] = await rows(
                connection, self._statements.users, after=after, limit=limit
            )
            return [row[0] for row in found]

    async def count_users(self) -> int:
        """How many users have accounts."""
        async with self._database.read() as connection:
            counted: int = (await connection.execute(self._statements.user_count)).scalar_one()
            return counted

    async def _open(
        self, findings: Findings, repairs: Repairs | None
    ) -> tuple[JournalPages, AccountPages, TradingPages, int]:
        """The pages of journal, accounts and trading as of now, and the last account's id."""
        async with self._database.read() as connection:
            bounds = (await connection.execute(self._statements.bounds)).one()
            catalog = await self._journal.catalog(connection)
        journal = JournalPages(
            self._database, self._statements, catalog, self._types, ends_of(bounds)
        )
        trading = TradingPages(self._database, catalog, journal, findings, repairs)
        accounts = AccountPages(
            self._database,
            self._statements,
            catalog,
            self._types,
            journal,
            self._mirrors,
            trading,
            findings,
            repairs,
        )
        return journal, accounts, trading, bounds.last_account or 0

    async def _sums(self, book: str | None) -> dict[str, str]:
        try:
            sums: dict[str, str] = (await self._reader.trial_balance())["sums"]
        except (UnknownBook, UnknownAsset):
            # An account's book or asset is gone: the walk of the accounts has named it.
            return {}
        return {name: total for name, total in sums.items() if book in (None, name.split("/")[0])}
