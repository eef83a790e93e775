"""Changes as callers ask for them, in short."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from prometheus_client import REGISTRY
from tallywire.ledger import BalanceManager, Change, Details, IdempotencyKey, LedgerError, Receipt
from tallywire.ledger import changes as asked

Told = Receipt | LedgerError


def change(
    manager: BalanceManager,
    kind: str,
    user: str,
    amount: str,
    *,
    asset: str = "USDT",
    book: str = "main",
    key: str | None = None,
    principal: str = "root",
    **details: Any,
) -> Change:
    """One user's change, by a positive amount; `key` is an idempotency key of `principal`."""
    return asked.directed(
        manager.catalog,
        manager.types[kind],
        user,
        amount,
        asset=asset,
        book=book,
        details=Details(
            key=None if key is None else IdempotencyKey("request", principal, key), **details
        ),
    )


def deposit(manager: BalanceManager, user: str, amount: str = "1", **more: Any) -> Change:
    return change(manager, "deposit", user, amount, **more)


def withdrawal(manager: BalanceManager, user: str, amount: str = "1", **more: Any) -> Change:
    return change(manager, "withdrawal", user, amount, **more)


def transfer(manager: BalanceManager, payer: str, payee: str, amount: str = "1") -> Change:
    return asked.transfer(
        manager.catalog,
        manager.types["transfer"],
        payer,
        payee,
        amount,
        asset="USDT",
        book="main",
        details=Details(),
    )


async def together(manager: BalanceManager, *groups: Change | Sequence[Change]) -> list[Told]:
    """
    Ask for all at once, so that they meet in one batch, in this order: a sequence is one atomic
    group, told by its last receipt or by what refused it.
    """

    async def one(group: Change | Sequence[Change]) -> Told:
        try:
            if isinstance(group, Change):
                return await manager.post(group)
            (*_, last) = await manager.post_many(group, atomic=True)
            return last
        except LedgerError as refusal:
            return refusal

    return await asyncio.gather(*(one(group) for group in groups))


def told(outcomes: Sequence[Told]) -> list[int | str]:
    """Of each outcome the position, or the code of its refusal."""
    return [o.code if isinstance(o, LedgerError) else o.position for o in outcomes]


def counted(result: str, kind: str = "deposit") -> float:
    """How many changes of that type came to `result`, by this process's metrics."""
    labels = {"type": kind, "result": result}
    return REGISTRY.get_sample_value("tallywire_changes_total", labels) or 0
