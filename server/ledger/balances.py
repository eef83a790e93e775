"""Reads of states: balances now and as of then, heads, totals, the trial balance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from .accounts import Account, AccountKey
from .catalog import Catalog
from .clock import Clock, rfc3339
from .database import Database
from .dialects import Sets, halves, joined
from .digest import GENESIS
from .errors import InvalidCursor, InvalidRequest
from .journal import STATE_COLUMNS, Journal, committed_from
from .money import format_amount
from .objects import Control, Total
from .opening_balance import OPENING, opening_key
from .trading.trades import DEMO_BOOK
from .transaction_types import TRADING_CONTROL
from .views import balance_view

_STATE = ", ".join(f"a.{name}" for name in STATE_COLUMNS)
_ENTRY_STATE = ", ".join(f"p.{name}" for name in STATE_COLUMNS)


class Head(Struct, frozen=True):
    """The journal's newest position, and which journal it is."""

    epoch: str
    position: int


class Snapshot(Struct, frozen=True):
    """
    What is of some users as of one position, by user: the BALANCEs (JSON) of their accounts, in
    name order, and the trading controls of those for whom one was ever set.
    """

    epoch: str
    position: int
    balances: Mapping[str, list[bytes]]
    controls: Mapping[str, Control] = {}


class Opened(Struct, frozen=True):
    """
    How an account stands to its opening balance. moved: whether any money ever moved there or
    was held; opening: what its opening balance moved (minor units, credit-positive), or None.
    """

    account: Account
    moved: bool
    opening: int | None


class _Controlled(Struct, frozen=True):
    """What is read of an UPDATE that set a control."""

    control: Control


_decode_controlled = msgspec.json.Decoder(_Controlled).decode


class MonitorTotals(Struct, frozen=True):
    """What all users own per book and asset, as of one position."""

    epoch: str
    position: int
    totals: list[Total]


class BalanceReader:
    """Reads of states from the database; changes nothing."""

    def __init__(self, database: Database, journal: Journal, clock: Clock) -> None:
        self._database = database
        self._journal = journal
        self._clock = clock
        self._catalog: Catalog | None = None

    async def head(self) -> Head:
        """The head of the journal."""
        async with self._database.read() as connection:
            return await read_head(connection)

    async def snapshot(self, user_ids: Sequence[str]) -> Snapshot:
        """The balances and controls of `user_ids` and the head, read by one statement."""
        sets = Sets(self._database.dialect)
        async with self._database.read() as connection:
            rows = (
                await connection.execute(
                    text(
                        "SELECT c.epoch, c.position, users.value, t.mode, t.book,"
                        f" a.id, a.book, a.owner, a.asset, {_STATE} FROM clock c"
                        f" LEFT JOIN {sets.rows('users', 'text')} ON 1 = 1"
                        " LEFT JOIN trading_controls t ON t.book = :demo"
                        " AND t.user_id = users.value AND t.position IS NOT NULL"
                        " LEFT JOIN accounts a ON a.owner = users.value AND a.seq > 0"
                        " ORDER BY a.name"
                    ),
                    {"users": sets.parameter(user_ids), "demo": DEMO_BOOK},
                )
            ).all()
            accounts = [_account(row[5:]) for row in rows if row[5] is not None]
            catalog = await self._catalog_of(connection, accounts)
        controls = {row[2]: Control(mode=row[3], book=row[4]) for row in rows if row[3] is not None}
        return _snapshot(rows[0][0], rows[0][1], user_ids, accounts, catalog, controls)

    async def balances_at(
        self,
        user_id: str,
        *,
        position: int | None = None,
        time: str | None = None,
        book: str | None = None,
    ) -> Snapshot:
        """
        The balances of `user_id` as each account's last entry at or before `position`, or at or
        before `time` (RFC 3339, UTC, as stored), left them. Raises InvalidCursor beyond the head
        or in the future.
        """
        async with self._database.read() as connection:
            head = await read_head(connection)
            if time is not None:
                await self._refuse_future(connection, time)
                position = await last_booked(connection, "created_at <= :time", time, head)
            at = head.position if position is None else position
            if at > head.position:
                raise InvalidCursor(f"the journal ends at position {head.position}")
            states = await states_at(connection, user_id, at)
            accounts = [account for account in states if book in (None, account.key.book)]
            catalog = await self._catalog_of(connection, accounts)
        return _snapshot(head.epoch, at, [user_id], accounts, catalog, {})

    async def control_at(self, user_id: str, position: int) -> Control | None:
        """The trading control of `user_id` as of `position`, None where none was set by then."""
        async with self._database.read() as connection:
            row = (
                await connection.execute(
                    text(
                        "SELECT mode, book, position FROM trading_controls"
                        " WHERE book = :demo AND user_id = :user AND position IS NOT NULL"
                    ),
                    {"demo": DEMO_BOOK, "user": user_id},
                )
            ).one_or_none()
            if row is None:
                return None
            if row.position <= position:
                return Control(mode=row.mode, book=row.book)
            earlier = await connection.execute(
                text(
                    "SELECT position, id, type, encoded FROM transactions"
                    " WHERE subject = :user AND type = :type AND position <= :at"
                    " ORDER BY position DESC LIMIT 1"
                ),
                {"user": user_id, "type": TRADING_CONTROL.name, "at": position},
            )
            found = earlier.one_or_none()
        if found is None:
            return None
        return _decode_controlled(committed_from(found).admin_bodies()[0]).control

    async def opened(self, keys: Sequence[AccountKey]) -> dict[AccountKey, Opened]:
        """How those of the user accounts `keys` that exist stand to their opening balances."""
        sets = Sets(self._database.dialect)
        wanted = sets.among("wanted", "text")
        names = sets.parameter([key.name for key in keys])
        opening_keys = sets.parameter([opening_key(key).key for key in keys])
        async with self._database.read() as connection:
            # The states first: an opening that comes between the two is then seen as one.
            states = (
                await connection.execute(
                    text(
                        f"SELECT a.id, a.book, a.owner, a.asset, {_STATE}, EXISTS (SELECT 1 FROM"
                        " postings p WHERE p.account_id = a.id AND (p.amount <> 0 OR"
                        f" p.held_change <> 0)) FROM accounts a WHERE a.name {wanted}"
                    ),
                    {"wanted": names},
                )
            ).all()
            openings = (
                await connection.execute(
                    text(
                        "SELECT p.account_id, p.amount FROM transactions t JOIN postings p"
                        " ON p.position = t.position WHERE t.key IS NOT NULL"
                        f" AND t.key_namespace = '{OPENING}' AND t.key_principal = '{OPENING}'"
                        f" AND t.key {wanted}"
                    ),
                    {"wanted": opening_keys},
                )
            ).all()
        amounts: dict[int, int] = {row[0]: row[1] for row in openings}
        found: dict[AccountKey, Opened] = {}
        for *state, moved in states:
            account = _account(state)
            found[account.key] = Opened(account, bool(moved), amounts.get(account.id))
        return found

    async def heads_fit(
        self, user_id: str, position: int, heads: Mapping[str, tuple[int, str]]
    ) -> bool:
        """
        Whether each account named in `heads` is the user's and had that (seq, digest) as its
        last entry at `position`; (0, zeros) stands for no entry yet.
        """
        async with self._database.read() as connection:
            for name, claimed in heads.items():
                try:
                    owner = AccountKey.parse(name).owner
                except InvalidRequest:
                    return False
                row = (
                    await connection.execute(
                        text(
                            "SELECT p.seq, p.digest FROM accounts a LEFT JOIN postings p"
                            " ON p.account_id = a.id AND p.position = (SELECT max(q.position)"
                            " FROM postings q WHERE q.account_id = a.id"
                            " AND q.position <= :position) WHERE a.name = :name"
                        ),
                        {"name": name, "position": position},
                    )
                ).one_or_none()
                if row is None or owner != user_id:
                    return False
                if claimed != (row[0] or 0, row[1] or GENESIS):
                    return False
        return True

    async def monitor_totals(self) -> MonitorTotals:
        """What all users own and have held per book and asset, and the head, by one statement."""
        async with self._database.read() as connection:
            rows = (
                await connection.execute(
                    text(
                        "SELECT c.epoch, c.position, a.book, a.asset,"
                        f" {halves('a.balance')}, {halves('a.held')}"
                        " FROM clock c LEFT JOIN accounts a ON substr(a.owner, 1, 1) <> '@'"
                        " GROUP BY c.epoch, c.position, a.book, a.asset"
                        " ORDER BY a.book, a.asset"
                    )
                )
            ).all()
            groups = [row for row in rows if row[2] is not None]
            catalog = await self._catalog_with(connection, [(r[2], r[3]) for r in groups])
        totals = []
        for _, _, book, asset, *sums in groups:
            sign, scale = catalog.book(book).stored_sign, catalog.asset(asset).scale
            totals.append(
                Total(
                    book=book,
                    asset=asset,
                    balance=format_amount(sign * joined(sums[0], sums[1]), scale),
                    held=format_amount(joined(sums[2], sums[3]), scale),
                )
            )
        return MonitorTotals(rows[0][0], rows[0][1], totals)

    async def trial_balance(self, position: int | None = None) -> dict[str, Any]:
        """
        The contract's trial balance: what each kind of owner has per book and asset at
        `position` (None: the head), and the sums, which are zero. Raises InvalidCursor.
        """
        kind = "CASE WHEN substr(a.owner, 1, 1) = '@' THEN a.owner ELSE 'user' END"
        async with self._database.read() as connection:
            if position is None:
                columns, source = halves("a.balance"), "accounts a"
            else:
                head = await read_head(connection)
                if not 0 <= position <= head.position:
                    raise InvalidCursor(f"the journal ends at position {head.position}")
                columns = halves("p.amount")
                source = "postings p JOIN accounts a ON a.id = p.account_id"
            rows = (
                await connection.execute(
                    text(
                        "SELECT c.position, s.book, s.asset, s.kind, s.high, s.low FROM clock c"
                        f" LEFT JOIN (SELECT a.book, a.asset, {kind} AS kind, {columns}"
                        f" FROM {source} {'' if position is None else 'WHERE p.position <= :at'}"
                        " GROUP BY 1, 2, 3) s ON 1 = 1 ORDER BY s.book, s.asset, s.kind"
                    ).bindparams(**({} if position is None else {"at": position}))
                )
            ).all()
            groups = [row for row in rows if row[1] is not None]
            catalog = await self._catalog_with(connection, [(r[1], r[2]) for r in groups])
        listed: list[dict[str, str]] = []
        sums: dict[str, tuple[int, int]] = {}
        for _, book, asset, owner_kind, high, low in groups:
            sign, scale = catalog.book(book).stored_sign, catalog.asset(asset).scale
            amount = sign * joined(high, low)
            listed.append(
                {
                    "book": book,
                    "asset": asset,
                    "owner_kind": owner_kind,
                    "balance": format_amount(amount, scale),
                }
            )
            total, _ = sums.get(f"{book}/{asset}", (0, scale))
            sums[f"{book}/{asset}"] = (total + amount, scale)
        return {
            "position": rows[0][0] if position is None else position,
            "rows": listed,
            "sums": {name: format_amount(*total) for name, total in sums.items()},
        }

    async def _refuse_future(self, connection: AsyncConnection, time: str) -> None:
        row = await connection.execute(text("SELECT created_at FROM clock"))
        # Another process's clock may be ahead of this one's: what it stamped has happened.
        if time > max(rfc3339(self._clock.now()), row.scalar_one()):
            raise InvalidCursor("that time lies in the future")

    async def _catalog_of(
        self, connection: AsyncConnection, accounts: Iterable[Account]
    ) -> Catalog:
        return await self._catalog_with(
            connection, [(account.key.book, account.key.asset) for account in accounts]
        )

    async def _catalog_with(
        self, connection: AsyncConnection, places: Iterable[tuple[str, str]]
    ) -> Catalog:
        """A catalog that has these books and assets; their sides and scales never change."""
        catalog = self._catalog
        if catalog is None or any(
            book not in catalog.books or asset not in catalog.assets for book, asset in places
        ):
            catalog = self._catalog = await self._journal.catalog(connection)
        return catalog


async def read_head(connection: AsyncConnection) -> Head:
    """The head as committed now."""
    row = (await connection.execute(text("SELECT epoch, position FROM clock"))).one()
    return Head(row[0], row[1])


async def last_booked(connection: AsyncConnection, condition: str, time: str, head: Head) -> int:
    """The last position up to `head` whose seal meets `condition` on ``:time``; 0 if none does."""
    # Several batches may have one time: their order is that of their positions.
    row = await connection.execute(
        text(
            f"SELECT last FROM seals WHERE {condition} AND last <= :head"
            " ORDER BY created_at DESC, last DESC LIMIT 1"
        ),
        {"time": time, "head": head.position},
    )
    return row.scalar_one_or_none() or 0


async def states_at(connection: AsyncConnection, user_id: str, position: int) -> list[Account]:
    """The user's accounts as their last entries at or before `position` left them, by name."""
    rows = await connection.execute(
        text(
            f"SELECT a.id, a.book, a.owner, a.asset, {_ENTRY_STATE} FROM accounts a"
            " JOIN postings p ON p.account_id = a.id AND p.position = (SELECT"
            " max(q.position) FROM postings q WHERE q.account_id = a.id"
            " AND q.position <= :at) WHERE a.owner = :user ORDER BY a.name"
        ),
        {"user": user_id, "at": position},
    )
    return [_account(row) for row in rows]


def _account(row: Sequence[Any]) -> Account:
    id_, book, owner, asset, *state = row
    return Account(id_, AccountKey(book, owner, asset), *state)


def _snapshot(
    epoch: str,
    position: int,
    user_ids: Sequence[str],
    accounts: Iterable[Account],
    catalog: Catalog,
    controls: Mapping[str, Control],
) -> Snapshot:
    balances: dict[str, list[bytes]] = {user: [] for user in user_ids}
    for account in accounts:
        encoded = msgspec.json.encode(balance_view(account, catalog))
        balances[account.key.owner].append(encoded)
    return Snapshot(epoch, position, balances, controls)
