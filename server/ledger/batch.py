"""
One attempt at one batch: the statements in their fixed order, each change decided on the
state that the earlier ones left. Everything up to COMMIT, which is the committer's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from .accounts import Account, AccountKey, StoredState
from .alongside import run_alongside
from .catalog import Catalog
from .changes import Change, IdempotencyKey, adoption
from .clock import Clock, IdSource, rfc3339
from .database import classify, reason
from .digest import batch_seal, content_hash
from .errors import AlongsideFailed, IdempotencyKeyReused, LedgerError
from .holds import Hold
from .intents import (
    ConfirmHold,
    EndHold,
    MeetMirrors,
    RepairAccount,
    RepairSystemAccount,
    SetControl,
)
from .journal import ENTRY_COLUMNS, STATE_COLUMNS, ClockState, Journal, Replay
from .mirrors.meeting import Mirroring, Stuck, TableLocked
from .mirrors.rows import MirrorRows
from .receipts import Receipt
from .rules import Decision, State, decide
from .trading.market import Market
from .trading.meeting import MarketMeeting
from .trading.trades import Trade
from .updates import Batch, Committed, encode_updates
from .views import admin_fields, audit_view, hold_from_view, own_fields, update_views

Outcome = Receipt | LedgerError

# What deciding a change leaves behind, and a refused group takes back.
_DECIDED = (
    "_accounts",
    "_inconsistent",
    "_holds",
    "_reversed",
    "_market",
    "_accepted",
    "_accepted_by_key",
)
_UNTOUCHED = StoredState()


class Request(Struct, frozen=True):
    """A change and the id that its transaction has whichever attempt commits it."""

    change: Change
    transaction_id: str


class Accepted(Struct, frozen=True):
    """A change accepted in this batch, which has no position yet."""

    transaction_id: str
    replayed: bool = False


Verdict = Accepted | Outcome


class StaleKnowledge(Exception):
    """What this process remembers of the database is out of date: read it and decide anew."""


class Knowledge:
    """
    What a committer remembers between batches: the catalog, the ids of accounts, and what
    of mirrors it waited for in vain.
    """

    MOST_IDS = 200_000

    def __init__(self, catalog: Catalog, epoch: str) -> None:
        self.catalog = catalog
        self.epoch = epoch
        self.account_ids: dict[str, int] = {}
        self.stuck = Stuck()

    def remember(self, ids: dict[str, int]) -> None:
        """Keep the ids of accounts that are committed: they never change."""
        if len(self.account_ids) + len(ids) > self.MOST_IDS:
            self.account_ids.clear()
        self.account_ids.update(ids)


class Prepared(Struct, frozen=True):
    """
    What needs only COMMIT: `batch` is None where nothing was accepted; written: whether there
    is anything to commit, if only mirrors.
    """

    batch: Batch | None
    outcomes: tuple[tuple[Outcome, ...], ...]
    account_ids: dict[str, int]
    written: bool


class Attempt:
    """One attempt at a batch of atomic groups, inside the transaction of `connection`."""

    def __init__(
        self,
        journal: Journal,
        connection: AsyncConnection,
        knowledge: Knowledge,
        clock: Clock,
        new_id: IdSource,
    ) -> None:
        self._journal = journal
        self._connection = connection
        self._knowledge = knowledge
        # What this attempt decides by, whatever the process reads meanwhile.
        self._epoch, self._catalog = knowledge.epoch, knowledge.catalog
        self._clock = clock
        self._new_id = new_id
        self._mirroring: Mirroring | None = None
        self._made: set[str] = set()
        self._ids: dict[str, int] = {}
        self._accounts: dict[AccountKey, Account] = {}
        self._inconsistent: set[AccountKey] = set()
        self._replays: dict[IdempotencyKey, Replay] = {}
        self._holds: dict[str, Hold] = {}
        self._reversed: set[str] = set()
        self._market: Market | None = None
        self._accepted: dict[str, Decision] = {}
        self._accepted_by_key: dict[IdempotencyKey, str] = {}

    async def prepare(self, groups: Sequence[Sequence[Request]]) -> Prepared:
        """
        Decide and write everything but the COMMIT. Raises StaleKnowledge, or what the
        database raised; then nothing holds and the transaction must be rolled back.
        """
        await self._refresh_knowledge()
        requests = [request for group in groups for request in group]
        await self._find_or_make_accounts([k for r in requests for k in r.change.account_keys])
        await self._lock_accounts()
        await self._look_up_keys(requests)
        await self._look_up_holds_and_reversals(requests)
        meeting = MarketMeeting(self._connection, self._catalog, self._clock)
        self._market = await meeting.meet([r.change for r in requests])
        await self._meet_mirrors(requests)
        decided = [await self._decide_group(group) for group in groups]
        mirrored = await self._write_mirrors(requests)
        if not self._accepted and not mirrored:
            return Prepared(None, _outcomes(decided, None), {}, False)
        await self._write_accounts()
        if not self._accepted:
            await self._take_clock()
            return Prepared(None, _outcomes(decided, None), {}, True)
        batch = await self._append(meeting)
        return Prepared(batch, _outcomes(decided, batch), self._ids, True)

    async def _refresh_knowledge(self) -> None:
        clock = await self._journal.clock(self._connection)
        if clock.epoch != self._knowledge.epoch:
            self._knowledge.epoch = clock.epoch
            self._knowledge.account_ids.clear()
        if clock.settings_version != self._knowledge.catalog.version:
            self._knowledge.catalog = await self._journal.catalog(self._connection)
        self._epoch, self._catalog = self._knowledge.epoch, self._knowledge.catalog

    async def _find_or_make_accounts(self, wanted: Iterable[AccountKey]) -> None:
        keys = {key.name: key for key in wanted}
        known = self._knowledge.account_ids
        self._ids.update({name: known[name] for name in keys if name in known})
        unknown = [name for name in keys if name not in known]
        if unknown:
            self._ids.update(await self._journal.account_ids(self._connection, unknown))
        missing = [keys[name] for name in keys if name not in self._ids]
        if missing:
            made = await self._journal.create_accounts(self._connection, missing)
            self._ids.update(made)
            raced = [key.name for key in missing if key.name not in made]
            if raced:
                self._ids.update(await self._journal.account_ids(self._connection, raced))
            self._made.update(made)

    async def _lock_accounts(self) -> None:
        ids = [id_ for name, id_ in self._ids.items() if not _is_system(name)]
        self._accounts = await self._journal.lock_accounts(self._connection, ids)
        names = {key.name for key in self._accounts}
        if any(name not in names for name in self._ids if not _is_system(name)):
            self._knowledge.account_ids.clear()
            raise StaleKnowledge
        # A new statement, so that it sees what the locks waited for.
        last = await self._journal.last_entries(self._connection, ids)
        for key, account in self._accounts.items():
            cached = tuple(getattr(account, name) for name in STATE_COLUMNS)
            by_entries = last.get(account.id, _UNTOUCHED)
            if cached != by_entries:
                self._inconsistent.add(key)
                self._accounts[key] = Account(account.id, key, *by_entries)

    async def _look_up_keys(self, requests: Sequence[Request]) -> None:
        keys = {r.change.key for r in requests if r.change.key is not None}
        if keys:
            self._replays = await self._journal.replays(self._connection, list(keys))

    async def _look_up_holds_and_reversals(self, requests: Sequence[Request]) -> None:
        changes = [request.change for request in requests]
        await self._rebuild_holds(
            [c.intent.key for c in changes if isinstance(c.intent, RepairAccount)]
        )
        holds = {c.intent.hold_id for c in changes if isinstance(c.intent, (ConfirmHold, EndHold))}
        if holds:
            self._holds = await self._journal.holds(self._connection, list(holds))
        originals = {change.reverses for change in changes if change.reverses is not None}
        if originals:
            self._reversed = await self._journal.reversed_ids(self._connection, list(originals))

    async def _rebuild_holds(self, keys: Sequence[AccountKey]) -> None:
        """Write the hold rows of accounts under repair anew, as the journal has them."""
        if not keys:
            return
        ids = [self._ids[key.name] for key in keys]
        await self._journal.forget_holds(self._connection, ids)
        for id_ in ids:
            found = await self._journal.holds_in_journal(self._connection, id_)
            holds = [
                hold_from_view(committed.admin_fields()["hold"], placed_at, self._catalog)
                for placed_at, committed in found
            ]
            await self._journal.write_holds(self._connection, [(id_, hold) for hold in holds])

    async def _meet_mirrors(self, requests: Sequence[Request]) -> None:
        """Lock the mirrors of what this batch may change; a ledger without mirrors has none."""
        if not self._catalog.mirrors:
            return
        paused, replays = self._catalog.paused, self._replays
        changes = [
            r.change
            for r in requests
            if r.change.key not in replays and (r.change.type.passes_status or not paused)
        ]
        repaired = {c.intent.key for c in changes if isinstance(c.intent, RepairAccount)}
        keys = {key for change in changes for key in change.account_keys}
        met = [
            account
            for key, account in self._accounts.items()
            if key in keys and (key not in self._inconsistent or key in repaired)
        ]
        rows = MirrorRows(self._connection.dialect.name)
        self._mirroring = Mirroring(rows, self._connection, self._catalog, self._knowledge.stuck)
        await self._mirroring.meet(met, repaired)

    async def _adopt(self, group: Sequence[Request]) -> None:
        """Book what others wrote to the mirrors of a group's accounts, whatever becomes of it."""
        if self._mirroring is None:
            return
        keys = [
            key
            for request in group
            for key in request.change.account_keys
            if key not in self._inconsistent
        ]
        for mirror, key, amount in self._mirroring.drifts(keys):
            booking = adoption(self._catalog, key, amount, mirror.name)
            await self._find_or_make_accounts(booking.account_keys)
            try:
                await self._decide(Request(booking, self._new_id()))
            except LedgerError as refusal:
                self._mirroring.cannot_adopt(mirror, key, refusal)

    async def _write_mirrors(self, requests: Sequence[Request]) -> bool:
        if self._mirroring is None:
            return False
        keys = {e.after.key for d in self._accepted.values() for e in d.entries}
        intents = [request.change.intent for request in requests]
        keys |= {intent.key for intent in intents if isinstance(intent, MeetMirrors)}
        accounts = [account for key in keys if (account := self._accounts[key]).seq]
        try:
            return await self._mirroring.write(accounts, look_again=_has_alongside(requests))
        except TableLocked as locked:
            raise StaleKnowledge from locked

    async def _decide_group(self, group: Sequence[Request]) -> list[Verdict]:
        await self._adopt(group)
        if len(group) == 1:
            try:
                verdict = await self._decide(group[0])
            except LedgerError as refusal:
                return [refusal]
            if isinstance(group[0].change.intent, RepairAccount):
                # Nothing could be booked before on an account that is not as its entries say.
                await self._adopt(group)
            return [verdict]
        before = self._remembered()
        verdicts: list[Verdict] = []
        savepoint = await self._connection.begin_nested() if _has_alongside(group) else None
        for item, request in enumerate(group):
            try:
                verdicts.append(await self._decide(request))
            except LedgerError as refusal:
                refusal.extra["item"] = item
                self._recall(before)
                if savepoint is not None:
                    await savepoint.rollback()
                return [refusal] * len(group)
        if savepoint is not None:
            await savepoint.commit()
        return verdicts

    def _remembered(self) -> tuple[Any, ...]:
        return tuple(copy(getattr(self, name)) for name in _DECIDED)

    def _recall(self, before: tuple[Any, ...]) -> None:
        for name, value in zip(_DECIDED, before, strict=True):
            setattr(self, name, value)

    async def _decide(self, request: Request) -> Verdict:
        change = request.change
        if change.key is not None:
            earlier = self._earlier(change.key, change.fingerprint)
            if earlier is not None:
                return earlier
        if self._mirroring is not None:
            self._mirroring.refuse(change.account_keys)
        decision = decide(
            change,
            request.transaction_id,
            State(self._accounts, self._inconsistent, self._holds, self._reversed, self._market),
            self._catalog,
            self._clock.now(),
        )
        if change.alongside:
            await self._run_alongside(request)
        for entry in decision.entries:
            self._accounts[entry.after.key] = entry.after
            self._inconsistent.discard(entry.after.key)
        if decision.hold is not None:
            self._holds[decision.hold.id] = decision.hold
        if self._market is not None and decision.trade is not None:
            self._market = self._market.with_trade(decision.trade)
        if self._market is not None and decision.control is not None:
            control = decision.control
            self._market = self._market.with_control(control.book, control.user, control.mode)
        if change.reverses is not None:
            self._reversed.add(change.reverses)
        self._accepted[request.transaction_id] = decision
        if change.key is not None:
            self._accepted_by_key[change.key] = request.transaction_id
        return Accepted(request.transaction_id)

    def _earlier(self, key: IdempotencyKey, fingerprint: str) -> Verdict | None:
        """What the key was used for before, in the journal or in this batch."""
        if key in self._replays:
            replay = self._replays[key]
            used_for = replay.fingerprint
            verdict: Verdict = Receipt(replay.committed, self._epoch, replayed=True)
        elif key in self._accepted_by_key:
            transaction_id = self._accepted_by_key[key]
            used_for = self._accepted[transaction_id].change.fingerprint
            verdict = Accepted(transaction_id, replayed=True)
        else:
            return None
        if used_for != fingerprint:
            raise IdempotencyKeyReused
        return verdict

    async def _run_alongside(self, request: Request) -> None:
        try:
            await run_alongside(self._connection, request.change.alongside, request.transaction_id)
        except SQLAlchemyError as error:
            # A row that its own application keeps locked must not hold up everyone's changes.
            if classify(error) == "retry":
                raise
            raise AlongsideFailed(reason(error)) from error

    async def _write_accounts(self) -> None:
        touched = {e.after.key for d in self._accepted.values() for e in d.entries}
        await self._journal.write_accounts(
            self._connection, [self._accounts[key] for key in touched]
        )
        used = {key.name for key in touched}
        used |= {leg.key.name for d in self._accepted.values() for leg in d.system_legs}
        unused = self._made - used
        if unused:
            ids = [self._ids.pop(name) for name in unused]
            await self._journal.forget_accounts(self._connection, ids)

    async def _take_clock(self) -> ClockState:
        clock = await self._journal.take_clock(self._connection)
        if (clock.epoch, clock.settings_version) != (self._epoch, self._catalog.version):
            raise StaleKnowledge
        return clock

    async def _append(self, meeting: MarketMeeting) -> Batch:
        clock = await self._take_clock()
        created_at = max(rfc3339(self._clock.now()), clock.created_at)
        # Nothing is effective after it is booked, though the clock was set back meanwhile.
        effective = (d.change.effective_at or created_at for d in self._accepted.values())
        created_at = max(created_at, *effective)
        transactions: list[tuple[object, ...]] = []
        postings: list[tuple[object, ...]] = []
        committed: list[Committed] = []
        hashes: list[str] = []
        moves: dict[int, int] = {}
        holds: dict[str, Hold] = {}
        trades: list[Trade] = []
        controls: list[tuple[SetControl, int]] = []
        audited: list[dict[str, Any]] = []
        for position, decision in enumerate(self._accepted.values(), start=clock.position + 1):
            encoded = _encoded(decision, position, created_at, self._catalog)
            columns = _transaction_columns(decision, position, created_at, encoded)
            rows = self._posting_rows(decision, position)
            hashes.append(content_hash(columns, [(name, *row[2:]) for name, row in rows]))
            transactions.append((*columns, hashes[-1]))
            postings.extend(row for _, row in rows)
            committed.append(
                Committed(position, decision.transaction_id, decision.change.type.name, encoded)
            )
            for leg in decision.system_legs:
                id_ = self._ids[leg.key.name]
                moves[id_] = moves.get(id_, 0) + leg.amount
            if decision.hold is not None:
                hold = decision.hold
                holds[hold.id] = replace(hold, position=hold.position or position)
            if decision.trade is not None:
                trade = decision.trade
                trades.append(replace(trade, position=trade.position or position))
            if decision.control is not None:
                controls.append((decision.control, position))
            audit = audit_view(decision, created_at, self._catalog)
            if audit is not None:
                audited.append(audit)
        first, last = clock.position + 1, clock.position + len(committed)
        seal = batch_seal(clock.seal, first, last, created_at, hashes)
        await self._restore_system_balances()
        await self._journal.move_system_balances(self._connection, sorted(moves.items()))
        await self._journal.write_holds(
            self._connection, [(self._ids[hold.key.name], hold) for hold in holds.values()]
        )
        if self._market is not None:
            await meeting.write(self._market, trades, controls)
        await self._journal.write_audit(self._connection, audited)
        await self._journal.append(self._connection, transactions, postings)
        await self._journal.advance_clock(self._connection, first, last, created_at, seal)
        return Batch(clock.epoch, first, last, tuple(committed), seal)

    async def _restore_system_balances(self) -> None:
        for decision in self._accepted.values():
            intent = decision.change.intent
            if isinstance(intent, RepairSystemAccount):
                await self._journal.restore_system_balance(
                    self._connection, self._ids[intent.key.name], intent.position, intent.balance
                )

    def _posting_rows(
        self, decision: Decision, position: int
    ) -> list[tuple[str, tuple[object, ...]]]:
        """The rows of `postings` in account name order, each with its account's name."""
        rows: list[tuple[str, tuple[object, ...]]] = []
        for entry in decision.entries:
            after = entry.after
            moved = after.balance - entry.before.balance
            state = (getattr(after, name) for name in ENTRY_COLUMNS)
            row = (position, after.id, moved, entry.held_change, *state)
            rows.append((after.key.name, row))
        for leg in decision.system_legs:
            name = leg.key.name
            no_state = (None,) * len(ENTRY_COLUMNS)
            rows.append((name, (position, self._ids[name], leg.amount, leg.held_change, *no_state)))
        return sorted(rows, key=lambda named: named[0])


def _encoded(decision: Decision, position: int, created_at: str, catalog: Catalog) -> bytes:
    users, updates = update_views(decision, position, created_at, catalog)
    own = own_fields(decision, catalog)
    return encode_updates(users, admin_fields(decision, catalog), updates, own)


def _transaction_columns(
    decision: Decision, position: int, created_at: str, encoded: bytes
) -> tuple[object, ...]:
    """The row of `transactions` in the order of its columns, without the content hash."""
    change, key = decision.change, decision.change.key
    return (
        position,
        decision.transaction_id,
        change.type.name,
        decision.subject,
        change.description,
        change.reference,
        change.metadata,
        change.internal,
        change.actor,
        change.actor_role,
        change.reverses,
        change.effective_at or created_at,
        created_at,
        *((None, None, None) if key is None else (key.namespace, key.principal, key.key)),
        change.fingerprint,
        encoded.decode(),
        None if decision.hold is None else decision.hold.id,
        None if decision.trade is None else decision.trade.id,
    )


def _outcomes(
    decided: Sequence[Sequence[Verdict]], batch: Batch | None
) -> tuple[tuple[Outcome, ...], ...]:
    """The verdicts with every accepted change's receipt in its place."""
    committed = {c.transaction_id: c for c in batch.transactions} if batch else {}

    def outcome(verdict: Verdict) -> Outcome:
        if batch is None or not isinstance(verdict, Accepted):
            assert not isinstance(verdict, Accepted)
            return verdict
        return Receipt(committed[verdict.transaction_id], batch.epoch, verdict.replayed)

    return tuple(tuple(outcome(verdict) for verdict in verdicts) for verdicts in decided)


def _is_system(name: str) -> bool:
    return name.split("/", 1)[1].startswith("@")


def _has_alongside(group: Sequence[Request]) -> bool:
    return any(request.change.alongside for request in group)
