"""
Verification: every invariant over the whole ledger, while traffic flows.

Works up to a head taken at the start, in pages that are each a short transaction of their
own, and keeps no more than a page. The journal below the head never changes, so pages of it
agree with one another; whatever moves on is compared within one statement.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import metrics
from .account_pages import AccountPages, Repairs, Selection
from .database import Database
from .errors import UnknownAsset, UnknownBook, UnknownUser
from .history import JournalReader
from .invariants import check_trial_balance
from .journal import Journal
from .journal_pages import JournalPages, ends_of
from .journal_walk import LoggedSeal
from .report import Findings, Progress, Report
from .transaction_types import TransactionTypes
from .verify_statements import Statements


class Verifier:
    """Verifies the ledger in `database`; changes nothing by itself."""

    def __init__(
        self, database: Database, journal: Journal, reader: JournalReader, types: TransactionTypes
    ) -> None:
        self._database = database
        self._journal = journal
        self._reader = reader
        self._types = types
        self._statements = Statements(database.dialect)

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
        async with self._database.read() as connection:
            bounds = (await connection.execute(self._statements.bounds)).one()
            catalog = await self._journal.catalog(connection)
        if book is not None:
            catalog.book(book)
        selection = Selection(bounds.last_account or 0, user_id, book, asset)
        findings = Findings(progress)
        journal = JournalPages(
            self._database, self._statements, catalog, self._types, ends_of(bounds)
        )
        accounts = AccountPages(
            self._database, self._statements, catalog, self._types, journal, findings, repairs
        )
        findings.total = await accounts.count(selection)
        if user_id is not None and not findings.total:
            raise UnknownUser(f"{user_id!r} has no account here")
        for seal in logged:
            await journal.look_for(seal, findings)
        if selection.whole and not accounts_only:
            findings.total += journal.head
            await journal.walk(findings)
        await accounts.walk(selection)
        if user_id is None and asset is None:
            findings.report(check_trial_balance(await self._sums(book)))
        metrics.VERIFY_DISCREPANCIES.set(findings.errors)
        return findings.summary()

    async def _sums(self, book: str | None) -> dict[str, str]:
        try:
            sums: dict[str, str] = (await self._reader.trial_balance())["sums"]
        except (UnknownBook, UnknownAsset):
            # An account's book or asset is gone: the walk of the accounts has named it.
            return {}
        return {name: total for name, total in sums.items() if book in (None, name.split("/")[0])}
