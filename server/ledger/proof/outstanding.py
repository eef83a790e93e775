"""
What is wrong as far as is known: what the newest verification of the whole ledger left, as far as
later ones, of a user or a book or a rebuild, have not looked at it again. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING

from ..accounts import AccountKey
from ..errors import InvalidRequest
from ..invariants import NOBODY, TRIAL_BALANCE, Discrepancy, Invariant

if TYPE_CHECKING:
    from .records import Verification

# What an account's own walk finds; the others are the journal's.
_OF_ACCOUNTS = frozenset(
    (
        Invariant.SNAPSHOT_REPLAY,
        Invariant.SEQUENCE_GAP,
        Invariant.HASH_CHAIN,
        Invariant.OVERDRAFT_FLOOR,
        Invariant.HOLD_ACCOUNTING,
        Invariant.MIRROR_LEDGER,
    )
)


def outstanding(done: Iterable[Verification]) -> list[Discrepancy]:
    """
    What remains after the verifications `done`, oldest first, each of which came to its end: the
    largest difference first.
    """
    found: list[Discrepancy] = []
    for each in done:
        if each.report is not None:
            found = [known for known in found if not _looked_at(each, known)]
            found += [left for left in each.report.details if not left.fixed]
    return sorted(found, key=_size, reverse=True)


def _looked_at(verification: Verification, found: Discrepancy) -> bool:
    """Whether the verification would have found it again, were it still there."""
    if verification.is_whole:
        return True
    user_id, book = verification.user_id, verification.book
    if found.what.startswith(TRIAL_BALANCE):
        place = found.what.removeprefix(TRIAL_BALANCE)
        return user_id is None and book in (None, place.partition("/")[0])
    of_journal = found.invariant == Invariant.SEQUENCE_GAP and found.account == NOBODY
    if found.invariant not in _OF_ACCOUNTS or of_journal:
        return False
    if user_id is None and book is None:
        return True
    with suppress(InvalidRequest):
        key = AccountKey.parse(found.account)
        return user_id in (None, key.owner) and book in (None, key.book)
    return False


def _size(found: Discrepancy) -> Decimal:
    return Decimal(-1) if found.difference is None else abs(Decimal(found.difference))
