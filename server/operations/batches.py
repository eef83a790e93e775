"""Batches: many operations in one request, each decided as if it had come alone."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from .adjustments import Adjustment, adjustment
from .charges import Charge, Payment, Recharge, charge, payment, recharge
from .deposits import Deposit, deposit
from .requests import Operation
from .transfers import Transfer, transfer
from .withdrawals import Withdrawal, withdrawal

LARGEST_BATCH = 1000


class BatchOperation(NamedTuple):
    """What an item asks for: the form of its request, and the operation that takes it."""

    request: type[Struct]
    operation: Operation


OPERATIONS: dict[str, BatchOperation] = {
    "deposit": BatchOperation(Deposit, deposit),
    "withdrawal": BatchOperation(Withdrawal, withdrawal),
    "adjustment": BatchOperation(Adjustment, adjustment),
    "transfer": BatchOperation(Transfer, transfer),
    "charge": BatchOperation(Charge, charge),
    "recharge": BatchOperation(Recharge, recharge),
    "payment": BatchOperation(Payment, payment),
}
