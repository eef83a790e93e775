"""Accounts: how they are named, and the state that each entry leaves behind."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote

from msgspec import Struct

from .digest import GENESIS
from .errors import InvalidRequest

SYSTEM_OWNERS = ("@world", "@house", "@fees", "@escrow", "@opening", "@rounding")
_, HOUSE, FEES, ESCROW, _, ROUNDING = SYSTEM_OWNERS
LONGEST_USER_ID = 128

# Bytes that stay as they are in an account name; quote() already keeps letters, digits and "_.-~".
_PLAIN = ":@+"


class AccountKey(NamedTuple):
    """What makes an account: a book, its owner (a user id or a system owner), an asset."""

    book: str
    owner: str
    asset: str

    @property
    def name(self) -> str:
        """``book/owner/asset``, the owner percent-encoded (contract, section 1)."""
        return _name(self.book, self.owner, self.asset)

    @property
    def is_system(self) -> bool:
        """Whether the owner is one of the ledger's own."""
        return self.owner.startswith("@")

    def of(self, owner: str) -> AccountKey:
        """The account of `owner` in the same book and asset."""
        return AccountKey(self.book, owner, self.asset)

    @classmethod
    def parse(cls, name: str) -> AccountKey:
        """
        The key of an account name.

        Raises InvalidRequest where `name` is not the canonical name of any account.
        """
        parts = name.split("/")
        if len(parts) == 3:
            key = cls(parts[0], unquote(parts[1], errors="replace"), parts[2])
            if key.name == name:
                return key
        raise InvalidRequest(f"{name!r} is not an account name (book/owner/asset)")


@lru_cache(maxsize=1 << 16)
def _name(book: str, owner: str, asset: str) -> str:
    return f"{book}/{quote(owner, safe=_PLAIN).replace('~', '%7E')}/{asset}"


def check_user_id(user_id: object, pointer: str = "/user_id") -> str:
    """
    `user_id` itself where it is a valid user id (contract, section 1), else InvalidRequest.
    """
    if not isinstance(user_id, str):
        raise InvalidRequest("a user id is a string", pointer=pointer)
    if not 1 <= len(user_id) <= LONGEST_USER_ID:
        raise InvalidRequest(f"a user id has 1 to {LONGEST_USER_ID} characters", pointer=pointer)
    if user_id in ("me", ".", "..") or user_id.startswith("@"):
        raise InvalidRequest(f"{user_id!r} cannot be a user id", pointer=pointer)
    if any(ch < " " or "\x7f" <= ch <= "\x9f" or "\ud800" <= ch <= "\udfff" for ch in user_id):
        raise InvalidRequest(
            "a user id has no control characters or lone surrogates", pointer=pointer
        )
    return user_id


class StoredState(NamedTuple):
    """What an account's row, or its last entry, says of it; by itself, before its first entry."""

    balance: int = 0
    held: int = 0
    total_in: int = 0
    total_out: int = 0
    floor: int | None = None
    suspend_below: int | None = None
    alert_below: int | None = None
    status: str = "active"
    seq: int = 0
    digest: str = GENESIS
    total_earned: int | None = None


class Account(Struct, frozen=True):
    """
    One account as of its last entry. `balance`, totals and thresholds are minor units:
    `balance` is stored credit-positive, everything else in the account's own sense;
    `total_earned` is None until something is earned.
    """

    id: int
    key: AccountKey
    balance: int = 0
    held: int = 0
    total_in: int = 0
    total_out: int = 0
    floor: int | None = 0
    suspend_below: int | None = None
    alert_below: int | None = None
    status: str = "active"
    seq: int = 0
    digest: str = GENESIS
    total_earned: int | None = None
