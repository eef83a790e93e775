"""A small journal with a change of every kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tallywire.ledger import BalanceManager, Change, Details, changes

# The position of alice's last entry, the last position, and how many accounts there are.
LAST = 12
END = 24
ACCOUNTS = 12

_USDT = {"asset": "USDT", "book": "main"}
_RENT = {"asset": "EUR", "book": "flats"}


async def write_journal(manager: BalanceManager) -> None:
    """Eight commits of one transaction, one of four, then holds and reversals, one by one."""
    await manager.administration.put_book("flats", {"side": "debit"}, actor="root")
    await manager.update_balance("alice", "100", "deposit", "Bank deposit", {"via": "bank"})
    await manager.update_balance("bob", "50", "deposit", actor="root", idempotency_key="k1")
    await manager.transfer("alice", "bob", "30", "Rent")
    await manager.post(await _settings(manager, "alice", _USDT, floor="-10", suspend_below="5"))
    await manager.set_balance("bob", "75.5", "Counted anew")
    await manager.place_hold("bob", "20")
    await manager.update_balance("carol", "7", "deposit", asset="COIN")
    await manager.charge_service("alice", "66", "vps")
    last = [
        await _directed(manager, "payment", "flat-1", "3", _RENT),
        await manager.prepare(
            lambda c: changes.shared_charge(
                c,
                manager.types["shared_charge"],
                "10",
                [("flat-1", 1), ("flat-2", 2)],
                **_RENT,
                details=Details(metadata={"category": "lift"}),
            )
        ),
        await _settings(manager, "carol", {**_USDT, "asset": "COIN"}, status="frozen"),
        await _directed(manager, "recharge", "alice", "20", _USDT),
    ]
    await manager.post_many(last, atomic=True)
    await _write_holds_and_reversals(manager)


async def _write_holds_and_reversals(manager: BalanceManager) -> None:
    """From position 13 on: dora's holds (placed at 14, 15, 18) and reversals (21, 24)."""
    await manager.update_balance("dora", "100", "deposit")
    await manager.place_hold("dora", "30", reference="flight", expires_in_s=3600)
    shared = (await manager.place_hold("dora", "20", actor="shop")).transaction_id
    await manager.confirm_hold(shared, "5")
    await manager.confirm_hold(shared, "10", release_remainder=True, to_user="emil")
    given_up = (await manager.place_hold("dora", "7")).transaction_id
    await manager.void_hold(given_up)
    await manager.reverse(
        (await manager.charge_service("dora", "10", "vps")).transaction_id, "Oops"
    )
    sent = await manager.transfer("dora", "emil", "12")
    await manager.update_balance("emil", "-15", "withdrawal")
    await manager.reverse(sent.transaction_id, "Sent twice", force=True)


async def _directed(
    manager: BalanceManager, kind: str, user: str, amount: str, place: Mapping[str, str]
) -> Change:
    return await manager.prepare(
        lambda c: changes.directed(c, manager.types[kind], user, amount, **place, details=Details())
    )


async def _settings(
    manager: BalanceManager, user: str, place: Mapping[str, str], **settings: Any
) -> Change:
    return await manager.prepare(
        lambda c: changes.change_account(
            c,
            manager.types["account_changed"],
            user,
            **place,
            settings=settings,
            details=Details(),
        )
    )
