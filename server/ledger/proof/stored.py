"""
Rows of the ledger's tables as verification reads them. Pure.

SQLite keeps any value in any column, so a row may hold what its column's type excludes; the
names of its fields then promise more than it has, and `misfit` tells.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from ..accounts import AccountKey, StoredState

_TEXTS = frozenset(("name", "book", "owner", "asset", "status", "digest", "created_at", "seal"))


class StoredAccount(NamedTuple):
    """Which account a row of `accounts` is."""

    id: int
    name: str
    book: str
    owner: str
    asset: str

    @property
    def key(self) -> AccountKey:
        """Its key."""
        return AccountKey(self.book, self.owner, self.asset)


class StoredEntry(NamedTuple):
    """A row of `postings`; the columns from `seq` on are None on system accounts."""

    position: int
    account_id: int
    amount: int
    held_change: int
    seq: int | None
    balance: int | None
    held: int | None
    total_in: int | None
    total_out: int | None
    floor: int | None
    suspend_below: int | None
    alert_below: int | None
    status: str | None
    digest: str | None
    total_earned: int | None


class StoredSeal(NamedTuple):
    """A row of `seals`."""

    last: int
    first: int
    created_at: str
    seal: str


def misfit(row: StoredAccount | StoredEntry | StoredState | StoredSeal) -> str | None:
    """The first column of `row` whose value is not of its type; None where there is none."""
    return _misfit(row._fields, tuple(map(type, row)))


def told_of(encoded: object, member: str) -> dict[str, Any]:
    """The object `member` that stored updates tell admins; empty where none is to be read."""
    try:
        told = msgspec.json.decode(str(encoded).split("\n")[1])[member]
    except (msgspec.DecodeError, LookupError, TypeError):
        return {}
    return told if isinstance(told, dict) else {}


@lru_cache(maxsize=256)
def _misfit(names: tuple[str, ...], kinds: tuple[type[Any], ...]) -> str | None:
    for name, kind in zip(names, kinds, strict=True):
        if kind not in (str if name in _TEXTS else int, type(None)):
            return name
    return None
