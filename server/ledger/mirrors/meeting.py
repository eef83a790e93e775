"""
What a batch does with the mirrors of its accounts: lock their rows, tell what others wrote
there, and write what the batch decided.

Rows are taken without waiting, and waited for without holding any: a writer that waits for
one keeps nobody from the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncTransaction

from ... import logs
from ..accounts import Account, AccountKey
from ..catalog import Catalog
from ..database import classify, reason
from ..errors import (
    AccountClosed,
    InvalidAmount,
    LedgerError,
    MirrorBusy,
    MirrorRefused,
    UnknownUser,
)
from .mirror import NO_ROW, Mirror, MirrorState, RowKey
from .rows import MirrorRows

_log = logs.get_logger(__name__)

PATIENCE_SECONDS = 1.0
DELAY_SECONDS = 0.02
MOST_STUCK = 10_000
TABLE_ALONE_SECONDS = 5.0

_BUSY = "its row or table is locked by another session"


class Stuck:
    """What somebody else kept locked for as long as anyone waits, and nobody waits for again."""

    def __init__(self) -> None:
        self.rows: set[tuple[int, RowKey]] = set()
        # Whole tables, each with the event loop's time until which it is left alone.
        self.tables: dict[str, float] = {}

    def leave_alone(self, table: str) -> None:
        """Take `table` for locked, for a while."""
        self.tables[table] = asyncio.get_running_loop().time() + TABLE_ALONE_SECONDS

    def forget_tables(self) -> None:
        """Forget the tables whose time is over: between batches, so that one waits once."""
        now = asyncio.get_running_loop().time()
        self.tables = {table: until for table, until in self.tables.items() if until > now}


class TableLocked(Exception):
    """A mirror's table took no write for as long as anyone waits; it is left alone now."""


@dataclass(eq=False, slots=True)
class _Copy:
    """
    One account's row in one mirror. base: what drift is measured from, None where nothing is;
    minor: what the row says; missing: there is no row; failure: why it cannot be written now.
    """

    mirror: Mirror
    account: AccountKey
    account_id: int
    row: RowKey
    scale: int
    base: int | None
    state: MirrorState | None = None
    minor: int | None = None
    missing: bool = False
    failure: str | None = None


class Mirroring:
    """The mirrors of one batch's accounts, inside the transaction of `connection`."""

    def __init__(
        self, rows: MirrorRows, connection: AsyncConnection, catalog: Catalog, stuck: Stuck
    ) -> None:
        """stuck: what an earlier batch waited for in vain; kept up to date."""
        self._rows = rows
        self._connection = connection
        self._catalog = catalog
        self._stuck = stuck
        self._copies: dict[AccountKey, list[_Copy]] = {}
        self._refusals: dict[AccountKey, LedgerError] = {}

    async def meet(self, accounts: Sequence[Account], repaired: Collection[AccountKey]) -> None:
        """
        Lock the rows of locked `accounts`, and see what others wrote to them. repaired: those
        whose rows take the ledger's value where they hold no amount.
        """
        self._find_copies(accounts)
        copies = [copy for found in self._copies.values() for copy in found]
        if not copies:
            return
        stored = await self._lock(copies)
        # A new statement, so that it sees what the accounts' locks waited for.
        states = await self._rows.states(
            self._connection,
            list({copy.mirror.id for copy in copies}),
            list({copy.account_id for copy in copies}),
        )
        for copy in copies:
            copy.state = states.get((copy.mirror.id, copy.account_id))
            if copy.state is not None:
                copy.base = copy.state.written
            repair = copy.account in repaired
            if copy.failure is None and not copy.missing:
                self._read(copy, stored[copy.mirror.id, copy.row], repair)
            if copy.failure is not None and copy.mirror.on_failure == "abort":
                busy = MirrorBusy if copy.failure == _BUSY else MirrorRefused
                self._refusals.setdefault(
                    copy.account, busy(f"mirror {copy.mirror.name!r}: {copy.failure}")
                )

    def refuse(self, accounts: Sequence[AccountKey]) -> None:
        """Raise what a mirror of one of the `accounts` refuses their changes with."""
        for account in accounts:
            refusal = self._refusals.get(account)
            if refusal is not None:
                raise type(refusal)(refusal.detail)

    def drifts(self, accounts: Sequence[AccountKey]) -> Iterator[tuple[Mirror, AccountKey, int]]:
        """
        What others wrote to the rows of `accounts` and is to be booked: by mirror the
        difference in minor units, own sense. It counts as booked once the next one is asked for.
        """
        for account in accounts:
            for copy in self._copies.get(account, ()):
                if not copy.mirror.adopts or copy.failure or copy.minor is None:
                    continue
                if copy.base is not None and copy.minor != copy.base:
                    yield copy.mirror, account, copy.minor - copy.base
                    if copy.failure is None:
                        copy.base = copy.minor

    def cannot_adopt(self, mirror: Mirror, account: AccountKey, refusal: LedgerError) -> None:
        """What others wrote cannot be booked, so the row keeps it."""
        for copy in self._copies[account]:
            if copy.mirror is mirror:
                copy.failure = f"cannot be adopted: {refusal.detail}"
        # An account that takes no money says so itself, and may still be opened again.
        if mirror.on_failure == "abort" and not isinstance(refusal, (AccountClosed, UnknownUser)):
            self._refusals.setdefault(
                account,
                MirrorRefused(f"mirror {mirror.name!r} cannot be adopted: {refusal.detail}"),
            )

    async def write(self, accounts: Sequence[Account], *, look_again: bool) -> bool:
        """
        Write what the batch decided for `accounts`; whether there was anything to write.

        look_again: whether this transaction's own statements may have touched the rows. Raises
        MirrorRefused where the database refuses a row and its changes are to be refused with it,
        and TableLocked where the batch is to be decided anew without a mirror's table.
        """
        due = [(c, account) for account in accounts for c in self._copies.get(account.key, ())]
        if look_again:
            await self._look_again([copy for copy, _ in due if copy.failure is None])
        values: dict[_Copy, int] = {}
        for copy, account in due:
            sign = self._catalog.book(account.key.book).stored_sign
            values[copy] = copy.mirror.value_of(account, sign)
        wrong: dict[int, list[_Copy]] = {}
        for copy, value in values.items():
            if copy.failure is None and not copy.missing and copy.minor != value:
                wrong.setdefault(copy.mirror.id, []).append(copy)
        for copies in wrong.values():
            await self._write(copies, values)
        states: dict[tuple[int, int], MirrorState] = {}
        for copy, value in values.items():
            state = _state(copy, value)
            if state == copy.state:
                continue
            states[copy.mirror.id, copy.account_id] = state
            if state.failure is not None and (
                copy.state is None or copy.state.failure != state.failure
            ):
                _log.warning(
                    "a mirror's row is left for later",
                    mirror=copy.mirror.name,
                    account=copy.account.name,
                    reason=state.failure,
                )
        if states:
            await self._rows.remember(self._connection, states)
        return bool(wrong or states)

    def _find_copies(self, accounts: Sequence[Account]) -> None:
        mirrors = [mirror for mirror in self._catalog.mirrors if mirror.writes]
        for account in accounts:
            for mirror in mirrors:
                row = mirror.row_of(account.key)
                if row is None:
                    continue
                book = self._catalog.book(account.key.book)
                if book.side == "debit" and mirror.value == "available":
                    continue
                copy = _Copy(
                    mirror,
                    account.key,
                    account.id,
                    row,
                    self._catalog.asset(account.key.asset).scale,
                    mirror.value_of(account, book.stored_sign),
                    missing=not row,
                )
                self._copies.setdefault(account.key, []).append(copy)

    async def _lock(self, copies: Sequence[_Copy]) -> dict[tuple[int, RowKey], Any]:
        """
        The values of the rows, locked. Marks the copies whose row is missing, whose row stays
        locked by others, or whose table cannot be read.
        """
        groups = _by_mirror(copies)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_SECONDS
        for copy in copies:
            if copy.mirror.table in self._stuck.tables:
                copy.failure = _BUSY
        # Two writers that keep each other from their rows have no account in common, so at
        # the first bit in which their ids differ they fall out of step.
        ticket = min(copy.account_id for copy in copies)
        while True:
            savepoint = await self._connection.begin_nested()
            stored, busy = await self._try_lock(groups, savepoint)
            waits = any((c.mirror.id, c.row) not in self._stuck.rows for c in busy)
            if savepoint.is_active and (not waits or loop.time() > deadline):
                await savepoint.commit()
                break
            if savepoint.is_active:
                await savepoint.rollback()
                await asyncio.sleep(DELAY_SECONDS * (1 + (ticket & 1)))
                ticket >>= 1
        for copy in busy:
            copy.failure = _BUSY
        self._stuck.rows.difference_update((copy.mirror.id, copy.row) for copy in copies)
        if len(self._stuck.rows) < MOST_STUCK:
            self._stuck.rows.update((copy.mirror.id, copy.row) for copy in busy)
        return stored

    async def _try_lock(
        self, groups: Sequence[Sequence[_Copy]], savepoint: AsyncTransaction
    ) -> tuple[dict[tuple[int, RowKey], Any], list[_Copy]]:
        """The rows that could be locked, and the copies whose row somebody else has."""
        stored: dict[tuple[int, RowKey], Any] = {}
        busy: list[_Copy] = []
        for group in groups:
            mirror = group[0].mirror
            left = [copy for copy in group if copy.failure is None]
            if not left:
                continue
            try:
                locked = await self._rows.lock(
                    self._connection, mirror, [copy.row for copy in left]
                )
                others = [copy for copy in left if copy.row not in locked]
                present: set[RowKey] = set()
                if others:
                    present = await self._rows.present(
                        self._connection, mirror, [copy.row for copy in others]
                    )
            except SQLAlchemyError as error:
                fault = classify(error)
                if fault == "retry":
                    raise
                await savepoint.rollback()
                if fault != "timeout":
                    for copy in group:
                        copy.failure = reason(error)
                    return {}, []
                # The table's other mirrors would each wait as long.
                self._stuck.leave_alone(mirror.table)
                for copy in chain.from_iterable(groups):
                    if copy.mirror.table == mirror.table:
                        copy.failure = _BUSY
                return {}, []
            stored.update(((mirror.id, row), value) for row, value in locked.items())
            busy += [copy for copy in others if copy.row in present]
            for copy in left:
                copy.missing = copy.row not in locked and copy.row not in present
        return stored, busy

    def _read(self, copy: _Copy, stored: Any, repair: bool) -> None:
        try:
            copy.minor = copy.mirror.minor_of(stored, copy.scale)
        except InvalidAmount as error:
            if copy.mirror.adopts and not repair:
                copy.failure = error.detail

    async def _look_again(self, copies: Sequence[_Copy]) -> None:
        """Rows that statements alongside have made or written: they take the ledger's value."""
        for group in _by_mirror(copies):
            locked = await self._rows.lock(
                self._connection, group[0].mirror, [copy.row for copy in group]
            )
            for copy in group:
                copy.missing = copy.row not in locked
                with suppress(InvalidAmount):
                    copy.minor = None
                    copy.minor = copy.mirror.minor_of(locked.get(copy.row), copy.scale)

    async def _write(self, copies: Sequence[_Copy], values: Mapping[_Copy, int]) -> None:
        """Write the rows of one mirror; where the database refuses, as `on_failure` says."""
        mirror = copies[0].mirror
        wanted = {copy.row: values[copy] for copy in copies}
        scale = copies[0].scale
        try:
            async with self._connection.begin_nested():
                texts = {row: mirror.text_of(minor, scale) for row, minor in wanted.items()}
                kept = await self._rows.write(self._connection, mirror, texts)
                _check_kept(mirror, wanted, kept, scale)
            return
        except (SQLAlchemyError, MirrorRefused) as error:
            if isinstance(error, SQLAlchemyError):
                fault = classify(error)
                if fault == "retry":
                    raise
                if fault == "timeout":
                    # Row by row, each would wait as long.
                    self._stuck.leave_alone(mirror.table)
                    raise TableLocked from error
            said = error.detail if isinstance(error, MirrorRefused) else reason(error)
            if mirror.on_failure == "abort":
                raise MirrorRefused(f"mirror {mirror.name!r}: {said}") from error
        if len(copies) == 1:
            copies[0].failure = said
            return
        middle = len(copies) // 2
        await self._write(copies[:middle], values)
        await self._write(copies[middle:], values)


def _by_mirror(copies: Sequence[_Copy]) -> list[list[_Copy]]:
    """The copies that can have a row, by mirror, in the order in which rows are locked."""
    by_mirror: dict[int, list[_Copy]] = {}
    for copy in copies:
        if copy.row:
            by_mirror.setdefault(copy.mirror.id, []).append(copy)
    return sorted(by_mirror.values(), key=lambda group: (group[0].mirror.table, group[0].mirror.id))


def _check_kept(
    mirror: Mirror, wanted: Mapping[RowKey, int], kept: Mapping[RowKey, Any], scale: int
) -> None:
    """Raise MirrorRefused where a row does not have the value that was just written to it."""
    for row, minor in wanted.items():
        try:
            same = row in kept and mirror.minor_of(kept[row], scale) == minor
        except InvalidAmount:
            same = False
        if not same:
            raise MirrorRefused(
                f"{mirror.column} of {mirror.table} does not keep {mirror.text_of(minor, scale)}"
            )


def _state(copy: _Copy, value: int) -> MirrorState:
    """What is to be remembered of the row, where `value` is what it should say."""
    if copy.missing:
        return MirrorState(None, NO_ROW)
    if copy.failure is not None:
        return MirrorState(copy.base, copy.failure)
    return MirrorState(value)
