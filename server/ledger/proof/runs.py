"""Proof: verifications as they are asked for, one after the other or beside the callers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from msgspec import Struct

from ... import logs
from ..accounts import AccountKey, check_user_id
from ..committer import Committer
from ..database import Database
from ..errors import (
    AccountInconsistent,
    Conflict,
    InvalidRequest,
    LedgerError,
    MirrorBusy,
    MirrorRefused,
)
from ..invariants import Discrepancy, Invariant
from ..leases import Leases
from ..mirrors.sync import MirrorSync
from ..report import Progress, Report
from ..transaction_types import TransactionTypes
from .journal_walk import LoggedSeal
from .outstanding import outstanding
from .records import ALIVE, Moment, Verification, Verifications
from .repair import Repairer
from .verify import Verifier

_log = logs.get_logger(__name__)

# Seconds between two records of how far a verification has come.
HEARTBEAT = 2.0

# What one verification at a time may do, in all processes.
_FIXING = "fixing verification"
_ALREADY = "another verification fixes already"
_CLAIMED = "another verification has that moment already"


class Asked(Struct, frozen=True, kw_only=True):
    """
    What a verification is to do. user_id, book: only those accounts; accounts_only: all of them,
    without the journal's own invariants; logged_seals: each ``POSITION:SEAL``, as it was logged
    outside of the database; actor: who asked; moment: what a schedule asks for.
    """

    fix: bool = False
    user_id: str | None = None
    book: str | None = None
    accounts_only: bool = False
    logged_seals: Sequence[str] = ()
    actor: str = "system"
    moment: Moment | None = None


class Proof:
    """Verification and repair of one ledger; each verification leaves a record."""

    def __init__(
        self,
        database: Database,
        verifier: Verifier,
        verifications: Verifications,
        leases: Leases,
        committer: Committer,
        mirror_sync: MirrorSync,
        types: TransactionTypes,
    ) -> None:
        self._database = database
        self._verifier = verifier
        self._leases = leases
        self._committer = committer
        self._mirror_sync = mirror_sync
        self._types = types
        self._running: set[asyncio.Task[Report]] = set()
        self.verifications = verifications

    async def verify(self, asked: Asked, progress: Progress | None = None) -> Report:
        """
        Check every invariant, and where `fix` put right what can be; see `Verifier.verify`.

        Raises InvalidRequest, UnknownUser, UnknownBook; Conflict where another fixes already, or
        has the moment.
        """
        return await self._run(*await self._begin(asked), asked, progress)

    async def start(self, asked: Asked) -> str:
        """Begin what `verify` does, and go on beside the caller: the id of its record."""
        id_, logged = await self._begin(asked)
        task = asyncio.create_task(self._run(id_, logged, asked, None))
        self._running.add(task)
        task.add_done_callback(self._ended)
        return id_

    async def discrepancies(self, newest: Verification | None = None) -> list[Discrepancy]:
        """
        What is wrong as far as verifications up to `newest` know, or all of them: see
        `outstanding`.
        """
        newest = newest or await self.verifications.newest_done()
        if newest is None:
            return []
        return outstanding(await self.verifications.done_since_whole(newest.number))

    async def drift(
        self, user_id: str, *, asset: str | None = None, book: str | None = None
    ) -> list[Discrepancy]:
        """Where copies of a user's accounts differ from their last entries."""
        return await self._verifier.compare([check_user_id(user_id)], asset=asset, book=book)

    async def count_users(self) -> int:
        """How many users have accounts."""
        return await self._verifier.count_users()

    async def drifting(
        self, batch: int, only: str | None = None
    ) -> AsyncIterator[dict[str | None, list[Discrepancy]]]:
        """
        The drift of every user or `only` one, empty for those who have none, `batch` of them at a
        time; under None what is nobody's, such as a mirror that cannot be read. Raises UnknownUser.
        """
        await self._verifier.check_scope(only, None)
        after = ""
        while users := await self._verifier.users(after, batch) if only is None else [only]:
            found = await self._verifier.compare(users)
            by_user: dict[str | None, list[Discrepancy]] = {user: [] for user in users}
            for each in found:
                by_user.setdefault(_owner(each), []).append(each)
            yield by_user
            if only is not None:
                return
            after = users[-1]

    async def put_right(self, user_id: str, actor: str) -> bool:
        """Repair what drifted of a user's accounts, if it can be; whether none drifts now."""
        try:
            await self.check_and_fix(user_id, actor=actor)
        except (AccountInconsistent, MirrorBusy, MirrorRefused) as error:
            _log.warning("an account is not repaired", user_id=user_id, reason=str(error))
        return not await self.drift(user_id)

    async def check_and_fix(
        self,
        user_id: str,
        *,
        asset: str | None = None,
        book: str | None = None,
        actor: str = "system",
    ) -> bool:
        """
        Whether copies of a user's accounts differed from the entries, which they no longer do. A
        row that is missing, or is only compared, is no such copy.

        Raises AccountInconsistent where the entries themselves cannot be trusted, and what keeps
        a mirror's row from being put right: MirrorBusy, MirrorRefused, Paused, Overloaded.
        """
        if not await self.drift(user_id, asset=asset, book=book):
            # Rows may speak of an account that is not there yet.
            synced = await self._mirror_sync.sync(
                user_id=user_id, asset=asset, book=book, actor=actor
            )
            return synced.synced > 0
        report = await self._verifier.verify(
            user_id=user_id,
            book=book,
            asset=asset,
            repairs=self._repairer(actor),
        )
        for each in report.details:
            if not each.fixed and each.invariant != Invariant.MIRROR_LEDGER:
                raise AccountInconsistent(
                    f"{each.account} cannot be repaired: {each.invariant} {each.what}"
                )
        settled = report.errors and await self._mirror_sync.settle(user_id, asset=asset, book=book)
        return bool(report.fixed or report.synced or settled)

    async def close(self) -> None:
        """End the verifications that go on; their records say so."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _begin(self, asked: Asked) -> tuple[str, list[LoggedSeal]]:
        logged = [LoggedSeal.parse(text) for text in asked.logged_seals]
        await self._verifier.check_scope(asked.user_id, asked.book)
        id_ = self.verifications.new_id()
        if asked.fix and not await self._leases.take(_FIXING, id_, ALIVE):
            raise Conflict(_ALREADY)
        try:
            begun = await self.verifications.begin(
                id_,
                asked.actor,
                kind="rebuild" if asked.accounts_only else "verify",
                fix=asked.fix,
                user_id=asked.user_id,
                book=asked.book,
                moment=asked.moment,
            )
            if not begun:
                raise Conflict(_CLAIMED)
        except BaseException:
            await self._give_back(id_, asked)
            raise
        return id_, logged

    async def _run(
        self, id_: str, logged: Sequence[LoggedSeal], asked: Asked, progress: Progress | None
    ) -> Report:
        reached = (0, 0)

        def reach(checked: int, total: int) -> None:
            nonlocal reached
            reached = checked, total
            if progress is not None:
                progress(checked, total)

        async def tell() -> None:
            while True:
                await asyncio.sleep(HEARTBEAT)
                try:
                    await self.verifications.goes_on(id_, *reached)
                    if asked.fix:
                        await self._leases.take(_FIXING, id_, ALIVE)
                except LedgerError as error:
                    _log.warning(
                        "how far a verification has come is not recorded", id=id_, reason=str(error)
                    )

        telling = asyncio.create_task(tell())
        try:
            report = await self._verifier.verify(
                user_id=asked.user_id,
                book=asked.book,
                accounts_only=asked.accounts_only,
                logged=logged,
                repairs=self._repairer(asked.actor) if asked.fix else None,
                progress=reach,
            )
            await _cancelled(telling)
            await self.verifications.done(id_, report, reached[1])
            return report
        except BaseException as error:
            await _cancelled(telling)
            with contextlib.suppress(LedgerError):
                await self.verifications.failed(id_, _why(error))
            raise
        finally:
            await self._give_back(id_, asked)

    async def _give_back(self, id_: str, asked: Asked) -> None:
        if asked.fix:
            with contextlib.suppress(LedgerError):
                await self._leases.give_back(_FIXING, id_)

    def _repairer(self, actor: str) -> Repairer:
        return Repairer(self._database, self._committer, self._mirror_sync, self._types, actor)

    def _ended(self, task: asyncio.Task[Report]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a verification failed", reason=str(error))


def _why(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "it was stopped before its end"
    return str(error) or type(error).__name__


def _owner(found: Discrepancy) -> str | None:
    try:
        return AccountKey.parse(found.account).owner
    except InvalidRequest:
        return None


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
