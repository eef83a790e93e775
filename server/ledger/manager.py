"""The BalanceManager: the ledger's door for programs (contract, section 6)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from typing import Any, TypeVar, Unpack

import msgspec

from . import changes, holds
from .access import Access
from .accounts import check_user_id
from .administration import Administration
from .balances import Snapshot
from .batch import Outcome
from .catalog import Catalog
from .changes import Amount, Change, Details
from .clock import Clock, parse_rfc3339, rfc3339
from .committer import CommitCallback, Committer
from .database import Database
from .days import parse_day
from .errors import (
    InvalidRequest,
    LedgerError,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    UnknownAsset,
    UnknownBook,
    UnknownPair,
)
from .exporting import Exported, Exporter
from .history import HistoryFilter, JournalReader
from .holds import Hold
from .invariants import Discrepancy
from .leases import Leases
from .mirrors.check import MirrorCheck
from .mirrors.mirror import Mirror, MirrorOptions
from .mirrors.sync import MirrorSync
from .options import Options, PlainOptions, RecordOptions, details_of
from .proof.runs import Asked, Proof
from .receipts import Receipt
from .report import Progress, Report
from .reversals import Original, reverse
from .statements import Statement
from .trading.reading import TradeReader
from .trading.stamping import Prices
from .trading.trading import Trading
from .transaction_types import TransactionType, TransactionTypes
from .updates import Batch, with_epoch

Made = TypeVar("Made")

EXPIRED_HOLDS_AT_ONCE = 200


class BalanceManager:
    """
    An open ledger. Amounts are Decimals or decimal strings; every method that changes
    something returns a Receipt or raises the LedgerError that refused it, and then nothing
    changed.
    """

    def __init__(
        self,
        committer: Committer,
        reader: JournalReader,
        administration: Administration,
        access: Access,
        leases: Leases,
        mirror_sync: MirrorSync,
        mirrors: MirrorCheck,
        proof: Proof,
        exporter: Exporter,
        prices: Prices,
        types: TransactionTypes,
        refresh: Callable[[], Any],
        database: Database,
        clock: Clock,
        *,
        default_asset: str,
        default_book: str,
    ) -> None:
        self._committer = committer
        self._mirror_sync = mirror_sync
        self._exporter = exporter
        self._refresh = refresh
        self._default_asset = default_asset
        self._default_book = default_book
        # For what is kept beside the journal.
        self.database = database
        self.reader = reader
        self.administration = administration
        self.access = access
        self.leases = leases
        self.mirrors = mirrors
        self.proof = proof
        self.prices = prices
        self.types = types
        self.trading = Trading(self, TradeReader(database), clock, default_book)
        self._news = asyncio.Event()
        committer.on_commit(self._tell_news)

    @property
    def catalog(self) -> Catalog:
        """The assets and books as this process last read them."""
        return self._committer.knowledge.catalog

    @property
    def waiting(self) -> int:
        """How many changes wait for a commit."""
        return self._committer.waiting

    # Changes

    async def update_balance(
        self,
        user_id: str,
        amount: Amount,
        change_type: str,
        description: str = "",
        metadata: Mapping[str, Any] | None = None,
        **options: Unpack[PlainOptions],
    ) -> Receipt:
        """Change a balance by `amount` (own sense, so a withdrawal is negative)."""
        place, details = self._split(description, {**options, "metadata": metadata})
        kind = self.types[change_type]
        return await self._post(
            lambda c: changes.signed(c, kind, user_id, amount, **place, details=details)
        )

    async def add_to_balance(
        self, user_id: str, amount: Amount, reason: str, **options: Unpack[Options]
    ) -> Receipt:
        """Raise a balance by a positive `amount`: an adjustment, or the type `reason` names."""
        return await self._adjust(user_id, amount, 1, reason, options)

    async def subtract_from_balance(
        self, user_id: str, amount: Amount, reason: str, **options: Unpack[Options]
    ) -> Receipt:
        """Lower a balance by a positive `amount`: an adjustment, or the type `reason` names."""
        return await self._adjust(user_id, amount, -1, reason, options)

    async def set_balance(
        self,
        user_id: str,
        new_balance: Amount,
        reason: str,
        *,
        if_seq: int | None = None,
        **options: Unpack[Options],
    ) -> Receipt:
        """
        Make the balance `new_balance`, an entry even where nothing differs. Raises Conflict
        where the account is not at `if_seq`.
        """
        kind, description = self._reason(reason)
        place, details = self._split(description, options)
        return await self._post(
            lambda c: changes.set_balance(
                c, kind, user_id, new_balance, if_seq=if_seq, **place, details=details
            )
        )

    async def charge_service(
        self,
        user_id: str,
        amount: Amount,
        service_type: str,
        description: str = "",
        **options: Unpack[Options],
    ) -> Receipt:
        """Charge a positive `amount`; `service_type` is kept in the metadata."""
        options["metadata"] = {**(options.get("metadata") or {}), "service_type": service_type}
        return await self._directed("charge", user_id, amount, description, options)

    async def recharge(
        self, user_id: str, amount: Amount, description: str = "", **options: Unpack[Options]
    ) -> Receipt:
        """Credit a positive `amount`, lifting a suspension that it cures."""
        return await self._directed("recharge", user_id, amount, description, options)

    async def pay(
        self, user_id: str, amount: Amount, description: str = "", **options: Unpack[Options]
    ) -> Receipt:
        """
        Take a payment of a positive `amount` towards a debt: the balance on a debit book falls
        by it, below zero where more is paid than is owed.
        """
        return await self._directed("payment", user_id, amount, description, options)

    async def shared_charge(
        self,
        shares: Mapping[str, int],
        amount: Amount,
        description: str = "",
        *,
        category: str | None = None,
        **options: Unpack[Options],
    ) -> Receipt:
        """
        Charge a positive `amount` to many users of a debit book, in one transaction.

        shares: 1 to 999 user ids, each with its weight (0 or more, not all 0), such as the mills
        of an apartment; the parts sum to `amount` (largest remainder, ties to the earlier user),
        and are in the receipt's updates. category: kept in the metadata, for statements.
        """
        if category is not None:
            options["metadata"] = {**(options.get("metadata") or {}), "category": category}
        place, details = self._split(description, options)
        kind = self.types["shared_charge"]
        return await self._post(
            lambda c: changes.shared_charge(
                c, kind, amount, tuple(shares.items()), **place, details=details
            )
        )

    async def transfer(
        self,
        from_user: str,
        to_user: str,
        amount: Amount,
        description: str = "",
        **options: Unpack[Options],
    ) -> Receipt:
        """Move a positive `amount` between two users of one book."""
        place, details = self._split(description, options)
        kind = self.types["transfer"]
        return await self._post(
            lambda c: changes.transfer(
                c, kind, from_user, to_user, amount, **place, details=details
            )
        )

    async def place_hold(
        self,
        user_id: str,
        amount: Amount,
        description: str = "",
        *,
        expires_in_s: int | None = None,
        **options: Unpack[Options],
    ) -> Receipt:
        """Reserve a positive `amount`; the receipt's `hold` has its id, for the next two."""
        place, details = self._split(description, options)
        kind = self.types["hold_placed"]
        return await self._post(
            lambda c: holds.place_hold(
                c, kind, user_id, amount, expires_in_s=expires_in_s, **place, details=details
            )
        )

    async def confirm_hold(
        self,
        hold_id: str,
        amount: Amount | None = None,
        *,
        release_remainder: bool = False,
        to_user: str | None = None,
        description: str = "",
        metadata: Mapping[str, Any] | None = None,
        **options: Unpack[RecordOptions],
    ) -> Receipt:
        """
        Move a positive `amount` of a hold (None: all that remains) out, or to `to_user`.

        release_remainder: release what then remains, too. Raises NotFound, HoldNotOpen,
        HoldExceeded and what any change may raise.
        """
        hold = await self.read_hold(hold_id)
        details = details_of(description, metadata, options)
        kind = self.types["hold_confirmed"]
        return await self._post(
            lambda c: holds.confirm_hold(
                c,
                kind,
                hold,
                amount,
                release_remainder=release_remainder,
                to_user=to_user,
                details=details,
            )
        )

    async def void_hold(
        self,
        hold_id: str,
        description: str = "",
        metadata: Mapping[str, Any] | None = None,
        **options: Unpack[RecordOptions],
    ) -> Receipt:
        """Release what remains of a hold. Raises NotFound, HoldNotOpen."""
        hold = await self.read_hold(hold_id)
        details = details_of(description, metadata, options)
        kind = self.types["hold_voided"]
        return await self._post(lambda c: holds.end_hold(c, kind, hold, "voided", details=details))

    async def expire_holds(self) -> int:
        """Release the holds whose time is over; how many there were. Safe to repeat."""
        expired = 0
        before: int | None = None
        # By position: those that are refused now are not in the others' way.
        while found := await self.reader.expired_holds(before, EXPIRED_HOLDS_AT_ONCE):
            outcomes = await self.post_many([await self._expiry(hold) for hold in found])
            expired += sum(isinstance(outcome, Receipt) for outcome in outcomes)
            if any(isinstance(outcome, (Overloaded, OutcomeUnknown)) for outcome in outcomes):
                break
            before = found[-1].position
        return expired

    async def _expiry(self, hold: Hold) -> Change:
        kind, details = self.types["hold_expired"], Details(description="expired")
        return await self.prepare(
            lambda c: holds.end_hold(c, kind, hold, "expired", details=details)
        )

    async def reverse(
        self,
        transaction_id: str,
        description: str = "",
        *,
        force: bool = False,
        metadata: Mapping[str, Any] | None = None,
        **options: Unpack[RecordOptions],
    ) -> Receipt:
        """
        Undo a transaction, once. force: even where that leaves less than a floor allows.

        Raises NotFound, NotReversible, AlreadyReversed and what any change may raise.
        """
        original = await self.read_original(transaction_id)
        details = details_of(description, metadata, options)
        return await self._post(
            lambda c: reverse(c, self.types, original, forced=force, details=details)
        )

    async def open_account(
        self, user_id: str, settings: Mapping[str, Any] | None = None, **options: Unpack[Options]
    ) -> Receipt:
        """
        Make an account explicitly. settings: ``floor``, ``suspend_below``, ``alert_below``, each
        a decimal string or None; what is not named comes from the book. Raises Conflict.
        """
        return await self._set_account(
            changes.open_account, "account_opened", user_id, settings or {}, options
        )

    async def change_account(
        self, user_id: str, settings: Mapping[str, Any], **options: Unpack[Options]
    ) -> Receipt:
        """
        Give an account new settings: those of `open_account`, and ``status`` ``active``,
        ``frozen`` or ``closed``. Raises NotFound, AccountClosed, Conflict.
        """
        return await self._set_account(
            changes.change_account, "account_changed", user_id, settings, options
        )

    async def post(self, change: Change) -> Receipt:
        """Commit one prepared change."""
        (outcome,) = await self._committer.submit([change])
        if isinstance(outcome, LedgerError):
            raise outcome
        return outcome

    async def post_many(self, prepared: Sequence[Change], atomic: bool = False) -> list[Outcome]:
        """
        Commit prepared changes, each its own transaction: an outcome each, in order. Where
        `atomic`, all in one commit at consecutive positions, or the first refusal is raised
        with its index as ``extra["item"]``.
        """
        if not prepared:
            return []
        if not atomic:
            return list(await self._committer.submit_each(prepared))
        outcomes = list(await self._committer.submit(prepared))
        for outcome in outcomes:
            if isinstance(outcome, LedgerError):
                if not isinstance(outcome, (Overloaded, OutcomeUnknown)):
                    outcome.extra.setdefault("item", 0)
                raise outcome
        return outcomes

    async def prepare(self, build: Callable[[Catalog], Made]) -> Made:
        """
        What `build` makes of the catalog; where it misses an asset, book or pair, the catalog is
        read again first, since another process may have made it.
        """
        try:
            return build(self.catalog)
        except (UnknownAsset, UnknownBook, UnknownPair):
            await self._refresh()
            return build(self.catalog)

    # Reads

    async def read_hold(self, hold_id: str) -> Hold:
        """The hold `hold_id` as it stands; raises NotFound."""
        hold = await self.reader.hold(hold_id)
        if hold is None:
            raise NotFound("there is no such hold")
        return hold

    async def read_original(self, transaction_id: str) -> Original:
        """The transaction `transaction_id` as `reverse` takes it; raises NotFound."""
        original = await self.reader.original(transaction_id)
        if original is None:
            raise NotFound("there is no such transaction")
        return original

    async def read_catalog(self) -> Catalog:
        """The assets and books as the database has them now."""
        await self._refresh()
        return self.catalog

    async def get_balance(
        self, user_id: str, *, asset: str | None = None, book: str | None = None
    ) -> Decimal:
        """The balance in whole units, own sense; zero where there is no account."""
        check_user_id(user_id)
        wanted = (book or self._default_book, asset or self._default_asset)
        await self.prepare(lambda catalog: (catalog.book(wanted[0]), catalog.asset(wanted[1])))
        return _balance_in(await self.reader.snapshot([user_id]), user_id, wanted)

    async def balances(self, user_id: str) -> list[dict[str, Any]]:
        """
        All of the user's accounts by name, as the contract's BALANCE objects: totals, status and
        thresholds too.
        """
        snapshot = await self.reader.snapshot([check_user_id(user_id)])
        return [msgspec.json.decode(encoded) for encoded in snapshot.balances[user_id]]

    async def balance_at(
        self,
        user_id: str,
        *,
        before: str | date | None = None,
        position: int | None = None,
        time: str | datetime | None = None,
        asset: str | None = None,
        book: str | None = None,
    ) -> Decimal:
        """
        The balance of then in whole units, own sense; zero where there was no account.

        Exactly one of before: what was effective before that day (YYYY-MM-DD) in the book's time
        zone; position: as that transaction left it; time: as it was booked at that time. Raises
        InvalidRequest, UnknownBook, UnknownAsset, and InvalidCursor beyond the head.
        """
        check_user_id(user_id)
        wanted = (book or self._default_book, asset or self._default_asset)
        await self.prepare(lambda catalog: (catalog.book(wanted[0]), catalog.asset(wanted[1])))
        if [before, position, time].count(None) != 2:
            raise InvalidRequest("give exactly one of before, position, time")
        if before is not None:
            snapshot = await self.reader.balances_before(user_id, _as_day(before), book=wanted[0])
        else:
            snapshot = await self.reader.balances_at(
                user_id, position=position, time=_as_stored(time), book=wanted[0]
            )
        return _balance_in(snapshot, user_id, wanted)

    async def statement(
        self,
        user_id: str,
        *,
        from_: str | date,
        to: str | date,
        book: str | None = None,
    ) -> Statement:
        """
        The user's accounts in a book over the days `from_` to `to` (YYYY-MM-DD, both included)
        by effective date in the book's time zone: opening, movements, closing.

        Raises InvalidRequest, UnknownBook.
        """
        first, last = _as_day(from_, "from"), _as_day(to, "to")
        if first > last:
            raise InvalidRequest(f"the period ends ({last}) before it starts ({first})")
        in_book = self._default_book if book is None else book
        return await self.reader.statement(check_user_id(user_id), in_book, first, last)

    async def history(
        self,
        user_id: str,
        *,
        type: str | None = None,
        asset: str | None = None,
        book: str | None = None,
        from_: str | datetime | None = None,
        to: str | datetime | None = None,
        reference: str | None = None,
        metadata: Mapping[str, str] | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[dict[str, Any]]:
        """
        The user's updates, newest first, as the contract's UPDATE objects.

        from_ (inclusive), to (exclusive): times; reference: a prefix where it ends in ``*``;
        before: only positions below it, for the next page.
        """
        wanted = HistoryFilter(
            type=type,
            book=book,
            asset=asset,
            from_=_as_stored(from_),
            to=_as_stored(to),
            reference=reference,
            metadata=metadata or {},
        )
        head = await self.reader.head()
        found = await self.reader.history(user_id, wanted, before, limit)
        return [
            msgspec.json.decode(with_epoch(head.epoch, body))
            for committed in found
            for user, body in committed.user_bodies()
            if user == user_id
        ]

    async def read_journal(
        self, after: int, *, epoch: str | None = None, limit: int = 500, wait_s: float = 0.0
    ) -> Batch | None:
        """
        The transactions after position `after`, in order: at most `limit`, and at most about 1 MiB
        but always one. None where there are none, after `wait_s` seconds or this process's next
        commit. epoch: the journal's when `after` was its position. Raises InvalidCursor where it
        has another one now, being restored or copied, or ends before `after`.
        """
        if limit < 1:
            raise InvalidRequest("limit is 1 or more")
        news = self._news
        batch = await self.reader.batch_after(after, epoch, limit)
        if batch is None and wait_s > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), wait_s)
            batch = await self.reader.batch_after(after, epoch, limit)
        return batch

    async def follow(
        self, after: int, *, epoch: str | None = None, limit: int = 500, poll_s: float = 1.0
    ) -> AsyncIterator[Batch]:
        """
        Every transaction after position `after`, whoever commits it, in order and without end: a
        process's own as they are committed, those of others within `poll_s` seconds. See
        `read_journal`.
        """
        while True:
            batch = await self.read_journal(after, epoch=epoch, limit=limit, wait_s=poll_s)
            if batch is not None:
                yield batch
                after, epoch = batch.last, batch.epoch

    # Proof

    async def verify(
        self,
        fix: bool = False,
        *,
        user_id: str | None = None,
        book: str | None = None,
        logged_seals: Sequence[str] = (),
        actor: str = "system",
        progress: Progress | None = None,
    ) -> Report:
        """
        Check every invariant of the ledger, or those of the accounts of one user or book, while
        traffic goes on; where `fix`, copies of what the entries say are put right.

        logged_seals: each ``POSITION:SEAL``, as it was logged outside of the database: the journal
        must still have it. progress: called with what is checked so far and in all.
        Raises InvalidRequest, UnknownUser, UnknownBook; Conflict where another fixes already.
        """
        asked = Asked(fix=fix, user_id=user_id, book=book, logged_seals=logged_seals, actor=actor)
        return await self.proof.verify(asked, progress)

    async def rebuild(self, *, actor: str = "system", progress: Progress | None = None) -> Report:
        """
        Make every account's row, holds and mirrors what its entries say, the journal's own
        invariants left out; it can be broken off and repeated at any time. Raises Conflict.
        """
        return await self.proof.verify(Asked(fix=True, accounts_only=True, actor=actor), progress)

    async def discrepancies(self, limit: int = 100) -> list[Discrepancy]:
        """
        What is wrong as far as verifications know: what the newest of the whole ledger left, and
        later ones, of a user or a book or a rebuild, have not looked at again or left too. At most
        `limit`, the largest difference first.
        """
        return (await self.proof.discrepancies())[:limit]

    async def balance_drift(
        self, user_id: str, *, asset: str | None = None, book: str | None = None
    ) -> list[Discrepancy]:
        """
        Where the copies of one account (its row, holds and mirrors) differ from its last entry;
        empty where they agree. A quick look: the entries are taken as they are.
        """
        return await self.proof.drift(user_id, **self._place(asset, book))

    async def check_and_fix_balance_mismatch(
        self,
        user_id: str,
        *,
        asset: str | None = None,
        book: str | None = None,
        actor: str = "system",
    ) -> tuple[bool, Decimal]:
        """
        Whether copies of one account's balance had drifted, which are then repaired, and the
        balance in whole units. A mirror's row that is missing has not drifted.

        Raises AccountInconsistent where the entries cannot be trusted, MirrorBusy or MirrorRefused
        where a mirror's row cannot be put right.
        """
        place = self._place(asset, book)
        had_mismatch = await self.proof.check_and_fix(user_id, actor=actor, **place)
        return had_mismatch, await self.get_balance(user_id, **place)

    # Mirrors

    async def register_mirror(
        self, name: str, *, actor: str = "system", **options: Unpack[MirrorOptions]
    ) -> Mirror:
        """
        Keep a copy of a balance in another table of this database from the next batch on; the
        same again changes nothing. See `MirrorOptions`. Raises InvalidRequest where the table
        does not fit, UnknownAsset, UnknownBook, Conflict where another mirror has the column.
        """
        return await self.administration.put_mirror(name, options, actor=actor)

    async def unregister_mirror(self, name: str, *, actor: str = "system") -> None:
        """Leave the mirror's table alone from the next batch on. Raises NotFound."""
        await self.administration.remove_mirror(name, actor=actor)

    async def sync_balances(
        self,
        user_id: str | None = None,
        *,
        asset: str | None = None,
        book: str | None = None,
        actor: str = "system",
    ) -> Report:
        """
        Put the mirrors of all accounts, or those of one user, asset or book, right; twice changes
        nothing. The report counts rows, and holds what is not right still. Raises UnknownBook,
        UnknownAsset.
        """
        return await self._mirror_sync.sync(user_id=user_id, asset=asset, book=book, actor=actor)

    async def retry_mirrors(self) -> None:
        """Write the rows that could not be written, where they can be now; not while paused."""
        await self._mirror_sync.retry_deferred()

    # The rest of the door

    async def export_journal(
        self, write: Callable[[bytes], object], *, progress: Progress | None = None
    ) -> Exported:
        """
        `write` the whole journal up to its head as JSON Lines, of which `import_journal` makes
        the same journal in an empty ledger. progress: told the position reached and the last one.
        """
        return await self._exporter.export(write, progress)

    def wallet(self, user_id: str, *, asset: str | None = None, book: str | None = None) -> Wallet:
        """A handle on one account."""
        return Wallet(
            self,
            check_user_id(user_id),
            asset or self._default_asset,
            book or self._default_book,
        )

    def register_type(self, kind: TransactionType) -> TransactionType:
        """Add an application's own transaction type; raises InvalidRequest where taken."""
        return self.types.register(kind)

    def on_commit(self, callback: CommitCallback) -> None:
        """
        Await `callback` with every batch of this process, in commit order. A crash between the
        commit and the callback loses that call: what must happen for each transaction, once, is
        for `follow`.
        """
        self._committer.on_commit(callback)

    async def close(self) -> None:
        """End the verifications that go on, commit what waits, and stop."""
        await self.proof.close()
        await self._committer.close()

    async def _tell_news(self, _batch: Batch) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _adjust(
        self, user_id: str, amount: Amount, sign: int, reason: str, options: Options
    ) -> Receipt:
        kind, description = self._reason(reason)
        place, details = self._split(description, options)
        return await self._post(
            lambda c: changes.moved(c, kind, user_id, amount, sign, **place, details=details)
        )

    async def _set_account(
        self,
        make: Callable[..., Change],
        name: str,
        user_id: str,
        settings: Mapping[str, Any],
        options: Options,
    ) -> Receipt:
        place, details = self._split("", options)
        kind = self.types[name]
        return await self._post(
            lambda c: make(c, kind, user_id, settings=settings, **place, details=details)
        )

    async def _directed(
        self, name: str, user_id: str, amount: Amount, description: str, options: Options
    ) -> Receipt:
        place, details = self._split(description, options)
        kind = self.types[name]
        return await self._post(
            lambda c: changes.directed(c, kind, user_id, amount, **place, details=details)
        )

    async def _post(self, build: Callable[[Catalog], Change]) -> Receipt:
        return await self.post(await self.prepare(build))

    def _reason(self, reason: str) -> tuple[TransactionType, str]:
        """A reason that is a registered type is that type; else it describes an adjustment."""
        if reason in self.types:
            return self.types[reason], ""
        return self.types["adjustment"], reason

    def _place(self, asset: str | None, book: str | None) -> dict[str, str]:
        return {"asset": asset or self._default_asset, "book": book or self._default_book}

    def _split(self, description: str, options: Options) -> tuple[dict[str, str], Details]:
        place = self._place(options.get("asset"), options.get("book"))
        unknown = options.keys() - Options.__annotations__.keys()
        if unknown:
            raise TypeError(f"unexpected options: {', '.join(sorted(unknown))}")
        return place, details_of(description, options.get("metadata"), options)


class Wallet:
    """One user's account in one asset and book."""

    def __init__(self, manager: BalanceManager, user_id: str, asset: str, book: str) -> None:
        self._manager = manager
        self.user_id = user_id
        self.asset = asset
        self.book = book

    async def get_balance(self) -> Decimal:
        """The balance in whole units, own sense."""
        return await self._manager.get_balance(self.user_id, asset=self.asset, book=self.book)

    async def update_balance(
        self,
        amount: Amount,
        change_type: str,
        description: str = "",
        metadata: Mapping[str, Any] | None = None,
        **options: Unpack[PlainOptions],
    ) -> Receipt:
        """See `BalanceManager.update_balance`."""
        options["asset"], options["book"] = self.asset, self.book
        return await self._manager.update_balance(
            self.user_id, amount, change_type, description, metadata, **options
        )

    async def add_to_balance(
        self, amount: Amount, reason: str, **options: Unpack[Options]
    ) -> Receipt:
        """See `BalanceManager.add_to_balance`."""
        return await self._manager.add_to_balance(
            self.user_id, amount, reason, **self._here(options)
        )

    async def subtract_from_balance(
        self, amount: Amount, reason: str, **options: Unpack[Options]
    ) -> Receipt:
        """See `BalanceManager.subtract_from_balance`."""
        return await self._manager.subtract_from_balance(
            self.user_id, amount, reason, **self._here(options)
        )

    async def set_balance(
        self,
        new_balance: Amount,
        reason: str,
        *,
        if_seq: int | None = None,
        **options: Unpack[Options],
    ) -> Receipt:
        """See `BalanceManager.set_balance`."""
        return await self._manager.set_balance(
            self.user_id, new_balance, reason, if_seq=if_seq, **self._here(options)
        )

    async def charge_service(
        self,
        amount: Amount,
        service_type: str,
        description: str = "",
        **options: Unpack[Options],
    ) -> Receipt:
        """See `BalanceManager.charge_service`."""
        return await self._manager.charge_service(
            self.user_id, amount, service_type, description, **self._here(options)
        )

    async def recharge(
        self, amount: Amount, description: str = "", **options: Unpack[Options]
    ) -> Receipt:
        """See `BalanceManager.recharge`."""
        return await self._manager.recharge(
            self.user_id, amount, description, **self._here(options)
        )

    async def pay(
        self, amount: Amount, description: str = "", **options: Unpack[Options]
    ) -> Receipt:
        """See `BalanceManager.pay`."""
        return await self._manager.pay(self.user_id, amount, description, **self._here(options))

    async def transfer(
        self, to_user: str, amount: Amount, description: str = "", **options: Unpack[Options]
    ) -> Receipt:
        """Move a positive `amount` from here to another user of the book."""
        return await self._manager.transfer(
            self.user_id, to_user, amount, description, **self._here(options)
        )

    async def place_hold(
        self,
        amount: Amount,
        description: str = "",
        *,
        expires_in_s: int | None = None,
        **options: Unpack[Options],
    ) -> Receipt:
        """See `BalanceManager.place_hold`; the hold is confirmed and voided there, by its id."""
        return await self._manager.place_hold(
            self.user_id, amount, description, expires_in_s=expires_in_s, **self._here(options)
        )

    async def history(self, *, limit: int = 100) -> list[dict[str, Any]]:
        """The account's updates, newest first."""
        return await self._manager.history(
            self.user_id, asset=self.asset, book=self.book, limit=limit
        )

    async def sync(self, *, actor: str = "system") -> Report:
        """Put the account's mirrors right; see `BalanceManager.sync_balances`."""
        return await self._manager.sync_balances(
            self.user_id, asset=self.asset, book=self.book, actor=actor
        )

    async def balance_drift(self) -> list[Discrepancy]:
        """See `BalanceManager.balance_drift`."""
        return await self._manager.balance_drift(self.user_id, asset=self.asset, book=self.book)

    async def check_and_fix_balance_mismatch(
        self, *, actor: str = "system"
    ) -> tuple[bool, Decimal]:
        """See `BalanceManager.check_and_fix_balance_mismatch`."""
        return await self._manager.check_and_fix_balance_mismatch(
            self.user_id, asset=self.asset, book=self.book, actor=actor
        )

    def _here(self, options: Options) -> Options:
        options["asset"], options["book"] = self.asset, self.book
        return options


def _balance_in(snapshot: Snapshot, user_id: str, wanted: tuple[str, str]) -> Decimal:
    """The user's balance in the book and asset `wanted`; zero where there is no account."""
    for encoded in snapshot.balances[user_id]:
        balance = msgspec.json.decode(encoded)
        if (balance["book"], balance["asset"]) == wanted:
            return Decimal(balance["balance"])
    return Decimal(0)


def _as_day(day: str | date, name: str = "before") -> date:
    if isinstance(day, datetime):
        raise InvalidRequest(f"{name} is a date, without a time")
    return day if isinstance(day, date) else parse_day(day, name)


def _as_stored(moment: str | datetime | None) -> str | None:
    if moment is None:
        return None
    text = moment.isoformat() if isinstance(moment, datetime) else moment
    try:
        return rfc3339(parse_rfc3339(text))
    except ValueError as error:
        raise InvalidRequest(f"{text!r} is not an RFC 3339 time: {error}") from None
