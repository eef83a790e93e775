"""`python -m building`: plays the story and prints it."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from tallywire import LedgerError

from .story import Numbers, play
from .tables import database_url, with_driver

Value = TypeVar("Value")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code is 2 where the numbers cannot be played."""
    try:
        given = _parser().parse_args(arguments)
        numbers = Numbers(**{each.name: getattr(given, each.name) for each in fields(Numbers)})
        address = with_driver(given.database or database_url())
        asyncio.run(play(address, given.name, given.receipts, numbers, print))
    except (ValueError, LedgerError) as error:
        sys.stderr.write(f"building: {error}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    usual = Numbers()
    parser = argparse.ArgumentParser(prog="python -m building", description=__doc__)
    add = parser.add_argument
    add("--name", default=uuid4().hex[:8], help="of the building; default: a new one each time")
    add("--mills", type=_by_apartment(int), default=usual.mills, metavar="A1=220,A2=780")
    add(
        "--opening",
        type=_by_apartment(_amount),
        default=usual.opening,
        metavar="A2=-20.00",
        help="debts from before; negative where paid ahead",
    )
    add("--starts-on", type=date.fromisoformat, default=usual.starts_on, metavar="YYYY-MM-DD")
    add("--day", type=date.fromisoformat, default=usual.day, metavar="YYYY-MM-DD")
    for name, value in vars(usual).items():
        if isinstance(value, Decimal):
            add(f"--{name}", type=_amount, default=value, metavar="EUROS")
    add("--workers", type=int, default=usual.workers, help="processes; 0 = leave that out")
    add("--updates", type=int, default=usual.updates, help="at once in each of them")
    add("--database", metavar="URL", help="default: DATABASE_URL, or building.db here")
    add("--receipts", type=Path, default=Path("receipts"), help="folder of the scans")
    return parser


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount")
    return amount


def _by_apartment(read: Callable[[str], Value]) -> Callable[[str], dict[str, Value]]:
    def pairs(text: str) -> dict[str, Value]:
        each = (pair.partition("=") for pair in text.split(",") if pair)
        return {apartment: read(value) for apartment, _, value in each}

    return pairs


if __name__ == "__main__":
    sys.exit(main())
