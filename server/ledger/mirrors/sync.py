"""Putting mirrors right: what others wrote is booked or written over, what is missing written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from ..batch import Outcome
from ..catalog import Catalog
from ..changes import Change, Details, meet_mirrors, repair_account
from ..database import Database
from ..errors import LedgerError, MirrorRefused, Overloaded
from ..invariants import Discrepancy
from ..report import MOST_DETAILS, Report
from ..rules import MirrorsMet
from ..transaction_types import TransactionTypes
from .check import ACCOUNTS_PER_PAGE, MirrorCheck, MirrorPage
from .copies import Copy
from .mirror import NO_ROW
from .rows import MirrorRows

Submit = Callable[[Sequence[Change]], Awaitable[tuple[Outcome, ...]]]


class MirrorSync:
    """
    Puts rows right through the committer, page by page, under the locks of its batches: what was
    right when it got there stays, so it may be stopped anywhere and run again.
    """

    def __init__(
        self, database: Database, check: MirrorCheck, submit: Submit, types: TransactionTypes
    ) -> None:
        """submit: commits changes independently, an outcome each."""
        self._database = database
        self._check = check
        self._submit = submit
        self._types = types
        self._rows = MirrorRows(database.dialect)

    async def sync(
        self,
        *,
        user_id: str | None = None,
        asset: str | None = None,
        book: str | None = None,
        actor: str = "system",
    ) -> Report:
        """
        Put the rows of all accounts, or those of one user, asset or book, right; what is not right
        then is in the report. Raises UnknownBook, UnknownAsset, Overloaded.
        """
        checked = synced = errors = 0
        details: list[Discrepancy] = []
        async for found in self._check.pages(user_id=user_id, asset=asset, book=book):
            page = found
            if user_id is not None and (keys := page.unopened(user_id, asset=asset, book=book)):
                # What rows say of accounts that are not there yet: no page has those.
                await self._commit([meet_mirrors(key) for key in keys])
                opened = await self._check.ids_of(keys)
                synced += len(opened)
                page = await self._check.page_of([*page.accounts, *opened]) if opened else page
            checked += len(page.copies)
            left = await self._put_right(page, actor)
            remaining = left.discrepancies()
            synced += len(page.discrepancies()) - len(remaining)
            errors += len(remaining)
            details += remaining[: MOST_DETAILS - len(details)]
        return Report(checked=checked, synced=synced, fixed=0, errors=errors, details=details)

    async def settle(
        self, user_id: str, *, asset: str | None = None, book: str | None = None
    ) -> bool:
        """
        Put right what the ledger keeps of a user's rows, all but the missing ones; whether any was
        wrong. Raises what keeps a row from it: MirrorBusy, MirrorRefused, Paused, Overloaded.
        """
        settled = False
        async for page in self._check.pages(user_id=user_id, asset=asset, book=book):
            accounts = {copy.account_id: copy.account for copy in page.wrong()}
            for outcome in await self._submit([meet_mirrors(key) for key in accounts.values()]):
                if isinstance(outcome, LedgerError) and not isinstance(outcome, MirrorsMet):
                    raise outcome
            left = await self._check.page_of(list(accounts)) if accounts else page
            for obstacle in left.obstacles():
                raise MirrorRefused(obstacle)
            settled = settled or bool(accounts)
        return settled

    async def retry_deferred(self) -> None:
        """Write what could not be written before, where it can be now; not while paused."""
        after = (0, 0)
        while True:
            async with self._database.read() as connection:
                places = await self._rows.deferred(connection, after, ACCOUNTS_PER_PAGE)
            if not places:
                return
            after = places[-1]
            page = await self._check.page_of(sorted({account for _, account in places}))
            if page.catalog.paused:
                return
            await self._put_right(page, "system")

    async def _put_right(self, page: MirrorPage, actor: str) -> MirrorPage:
        """Put a page's rows right; the page as it is then."""
        by_account: dict[int, list[Copy]] = {}
        for copy in page.copies:
            by_account.setdefault(copy.account_id, []).append(copy)
        wrong = {
            id_: copies
            for id_, copies in by_account.items()
            if any(_lacks_something(copy) for copy in copies)
        }
        changes = [
            self._change(copies, page.catalog, actor)
            for copies in wrong.values()
            if any(_lacks_something(c) and c.mirror.writes and not _is_known(c) for c in copies)
        ]
        if not changes:
            return page
        await self._commit(changes)
        left = await self._check.page_of(list(wrong))
        left.unreadable = page.unreadable
        return left

    async def _commit(self, changes: Sequence[Change]) -> None:
        for outcome in await self._submit(changes):
            if isinstance(outcome, Overloaded):
                raise outcome

    def _change(self, copies: Sequence[Copy], catalog: Catalog, actor: str) -> Change:
        """What puts one account's rows right."""
        drifted = [copy for copy in copies if copy.mirror.writes and copy.has_drifted]
        # A repair takes no row's word: not where one of them may bring a difference to book.
        if not drifted or any(copy.mirror.adopts for copy in copies):
            return meet_mirrors(copies[0].account)
        details = Details(
            description="Mirrors written anew",
            metadata={"mirrors": [copy.mirror.name for copy in drifted]},
            actor=actor,
        )
        return repair_account(catalog, self._types["repair"], copies[0].account, details=details)


def _lacks_something(copy: Copy) -> bool:
    return not copy.is_right or (copy.state is not None and copy.state.failure is not None)


def _is_known(copy: Copy) -> bool:
    """Whether the row is missing, and is remembered to be: once it is there, it has no say."""
    return not copy.exists and copy.state is not None and copy.state.failure == NO_ROW
