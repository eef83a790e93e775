"""A journal in memory: it commits, and answers every read of the ledger's reader."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from tallywire.ledger.balances import Head, MonitorTotals, Snapshot
from tallywire.ledger.clock import rfc3339
from tallywire.ledger.digest import GENESIS
from tallywire.ledger.objects import Control, Total
from tallywire.ledger.updates import Batch, Committed, encode_updates

from tests.virtual_time import START

READ_SECONDS = 0.001


class Journal:
    """
    Each change adds 1 to one account of each of its users. `before` and `after` run around each
    read, by the read's name: a commit there is a race made certain. `away`: reads fail.
    """

    def __init__(self, epoch: str = "epoch-1") -> None:
        self.epoch = epoch
        self.committed: list[Committed] = []
        self.reads: list[str] = []
        self.before: dict[str, Callable[[], Any]] = {}
        self.after: dict[str, Callable[[], Any]] = {}
        self.away = False
        self._newest: dict[str, dict[str, dict[str, Any]]] = {}

    @property
    def position(self) -> int:
        return len(self.committed)

    def commit(
        self,
        *users: str,
        type: str = "deposit",
        asset: str = "USDT",
        description: str = "",
        control: Mapping[str, str] | None = None,
        trade: Mapping[str, Any] | None = None,
        accounts: int = 1,
    ) -> Batch:
        """
        One transaction, seen by `users`, in a batch of its own; with a `control` or a `trade` that
        is lost it changes none of their accounts.
        """
        position = self.position + 1
        body: dict[str, Any] = {
            "position": position,
            "transaction_id": f"id-{position}",
            "change_type": type,
            "description": description,
            "reference": None,
            "metadata": {},
            "reverses": None,
            "effective_at": rfc3339(START),
            "timestamp": rfc3339(START),
        }
        about = {"control": control, "trade": trade}
        body.update((name, told) for name, told in about.items() if told is not None)
        bodies = [
            {
                **body,
                "user_id": user,
                "changes": []
                if control or trade
                else self._changes(user, asset, position, accounts),
            }
            for user in users
        ]
        admin = {"internal": None, "actor": "root", "actor_role": "admin", "idempotency_key": None}
        nobody = {**body, "user_id": None, "changes": []}
        encoded = encode_updates(users, admin, bodies or [nobody])
        committed = Committed(position, f"id-{position}", type, encoded)
        self.committed.append(committed)
        return Batch(self.epoch, position, position, (committed,))

    def commit_many(self, count: int, *users: str, **given: Any) -> Batch:
        """`count` transactions in one batch."""
        batches = [self.commit(*users, **given) for _ in range(count)]
        transactions = tuple(batch.transactions[0] for batch in batches)
        return Batch(self.epoch, batches[0].first, batches[-1].last, transactions)

    def _changes(self, user: str, asset: str, position: int, accounts: int) -> list[dict[str, Any]]:
        known = self._newest.setdefault(user, {})
        changes = []
        for number in range(accounts):
            book = "main" if number == 0 else f"game:{number}"
            name = f"{book}/{user}/{asset}"
            before = known.get(name, {"balance": "0", "seq": 0})
            changes.append(
                {
                    "account": name,
                    "book": book,
                    "asset": asset,
                    "scale": 0,
                    "side": "credit",
                    "balance": str(int(before["balance"]) + 1),
                    "held": "0",
                    "available": str(int(before["balance"]) + 1),
                    "floor": "0",
                    "suspend_below": None,
                    "alert_below": None,
                    "status": "active",
                    "seq": before["seq"] + 1,
                    "digest": GENESIS,
                    "total_in": str(int(before["balance"]) + 1),
                    "total_out": "0",
                    "amount": "1",
                    "held_change": "0",
                    "balance_before": before["balance"],
                }
            )
        known.update((change["account"], change) for change in changes)
        return changes

    def state(self, user: str, position: int) -> dict[str, dict[str, Any]]:
        """The user's BALANCEs by account as of `position`."""
        state: dict[str, dict[str, Any]] = {}
        for committed in self.committed[:position]:
            for owner, body in committed.user_bodies():
                if owner == user:
                    for change in msgspec.json.decode(body)["changes"]:
                        for field in ("amount", "held_change", "balance_before"):
                            del change[field]
                        state[change["account"]] = change
        return state

    def control(self, user: str, position: int) -> Control | None:
        """The user's trading control as of `position`."""
        for committed in reversed(self.committed[:position]):
            for owner, body in committed.user_bodies():
                if owner == user and committed.type == "trading_control":
                    return msgspec.convert(msgspec.json.decode(body)["control"], Control)
        return None

    async def _read(self, name: str) -> None:
        self.reads.append(name)
        await asyncio.sleep(READ_SECONDS)
        if self.away:
            raise ConnectionError("the database is away")
        await _run(self.before.get(name))

    async def head(self) -> Head:
        await self._read("head")
        head = Head(self.epoch, self.position)
        await _run(self.after.get("head"))
        return head

    async def page(self, after: int, limit: int = 500) -> list[Committed]:
        await self._read("page")
        page = self.committed[after : after + limit]
        await _run(self.after.get("page"))
        return page

    async def page_before(self, before: int, limit: int) -> list[Committed]:
        await self._read("page_before")
        return [c for c in reversed(self.committed) if c.position < before][:limit]

    async def user_page(self, user_id: str, after: int, upto: int, limit: int) -> list[Committed]:
        await self._read("user_page")
        page = [c for c in self.committed[after:upto] if user_id in c.users()][:limit]
        await _run(self.after.get("user_page"))
        return page

    async def user_count(self, user_id: str, after: int, upto: int, limit: int) -> int:
        await self._read("user_count")
        return min(sum(user_id in c.users() for c in self.committed[after:upto]), limit)

    async def snapshot(self, user_ids: Sequence[str]) -> Snapshot:
        await self._read("snapshot")
        snapshot = Snapshot(
            self.epoch,
            self.position,
            {user: self._encoded(user, self.position) for user in user_ids},
            {user: set_ for user in user_ids if (set_ := self.control(user, self.position))},
        )
        await _run(self.after.get("snapshot"))
        return snapshot

    async def balances_at(self, user_id: str, *, position: int) -> Snapshot:
        await self._read("balances_at")
        return Snapshot(self.epoch, position, {user_id: self._encoded(user_id, position)})

    async def control_at(self, user_id: str, position: int) -> Control | None:
        await self._read("control_at")
        return self.control(user_id, position)

    async def monitor_totals(self) -> MonitorTotals:
        await self._read("monitor_totals")
        owned = {"book": "main", "asset": "USDT", "balance": "0", "held": "0"}
        totals = MonitorTotals(self.epoch, self.position, [Total(**owned)])
        await _run(self.after.get("monitor_totals"))
        return totals

    async def heads_fit(
        self, user_id: str, position: int, heads: Mapping[str, tuple[int, str]]
    ) -> bool:
        await self._read("heads_fit")
        state = self.state(user_id, position)
        return all(state.get(name, {"seq": 0})["seq"] == seq for name, (seq, _) in heads.items())

    def _encoded(self, user: str, position: int) -> list[bytes]:
        state = self.state(user, position)
        return [msgspec.json.encode(balance) for _, balance in sorted(state.items())]


async def _run(hook: Callable[[], Any] | None) -> None:
    done = hook() if hook is not None else None
    if isinstance(done, Awaitable):
        await done
