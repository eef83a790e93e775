"""
The desk of the service: one charge or recharge, in a process of its own.

``python -m prepaid.desk recharge CUSTOMER AMOUNT`` or ``charge CUSTOMER AMOUNT``
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from uuid import uuid4

import click
from tallywire import LedgerError

from .billing import Billing, Entry, open_billing
from .tables import database_url
from .telling import entry_line, refusal_line


async def _charge(billing: Billing, customer_id: str, amount: int) -> Entry:
    service_id = str(uuid4())
    await billing.rent(customer_id, service_id, "vps", amount)
    return await billing.charge_service(service_id, "once")


async def _recharge(billing: Billing, customer_id: str, amount: int) -> Entry:
    if not await billing.ledger.balances(customer_id):
        await billing.open_account(customer_id, customer_id)
    return await billing.recharge(customer_id, amount)


_DOES: dict[str, Callable[[Billing, str, int], Awaitable[Entry]]] = {
    "charge": _charge,
    "recharge": _recharge,
}


async def _main(does: str, customer_id: str, amount: int) -> str:
    async with open_billing(database_url()) as billing:
        try:
            return entry_line(await _DOES[does](billing, customer_id, amount))
        except LedgerError as refused:
            return refusal_line(refused)


if __name__ == "__main__":
    if (
        len(sys.argv) != 4
        or sys.argv[1] not in _DOES
        or not re.fullmatch("[1-9][0-9]*", sys.argv[3])
    ):
        sys.exit(f"python -m prepaid.desk {'|'.join(_DOES)} CUSTOMER AMOUNT")
    click.echo(asyncio.run(_main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
