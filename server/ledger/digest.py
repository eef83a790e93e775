"""The hash chains: an account's running digest, a transaction's content hash, a batch's seal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

import msgspec

GENESIS = "0" * 64


def entry_digest(
    previous: str,
    account: str,
    seq: int,
    amount: int,
    held_change: int,
    balance: int,
    held: int,
    transaction_id: str,
) -> str:
    """
    The digest of one entry (contract, section 2): lower-case hex.

    account: the account's name; amount, held_change, balance, held: minor units, own sense;
    previous: the digest of the entry before, or GENESIS.
    """
    text = f"{previous}|{account}|{seq}|{amount}|{held_change}|{balance}|{held}|{transaction_id}"
    return sha256(text.encode("ascii")).hexdigest()


def content_hash(columns: Sequence[object], postings: Iterable[Sequence[object]]) -> str:
    """
    The hash over every column of a transaction and of its postings, as a compact JSON array.

    columns: the stored transaction row without the hash itself; postings: stored rows, by account.
    The last columns of each (hold and trade; `total_earned`) came later: those at the end that
    are absent are not hashed, so that rows from before keep their hashes.
    """
    rows = [_without_later(columns, 2), [_without_later(posting, 1) for posting in postings]]
    return sha256(msgspec.json.encode(rows)).hexdigest()


def _without_later(row: Sequence[object], later: int) -> Sequence[object]:
    end = len(row)
    while end > len(row) - later and row[end - 1] is None:
        end -= 1
    return row[:end]


class SealHash:
    """
    The seal of the batch of positions `first` to `last`, its content hashes added one by one:
    it vouches for the batch's transactions and, through `previous`, for all before them.
    """

    def __init__(self, previous: str, first: int, last: int, created_at: str) -> None:
        self._hash = sha256("|".join((previous, str(first), str(last), created_at)).encode())

    def add(self, content_hash: str) -> None:
        """The next transaction's content hash."""
        self._hash.update(f"|{content_hash}".encode())

    def hexdigest(self) -> str:
        """The seal over what was added: lower-case hex."""
        return self._hash.hexdigest()


def batch_seal(
    previous: str, first: int, last: int, created_at: str, content_hashes: Iterable[str]
) -> str:
    """The seal of a batch whose content hashes are all at hand; see SealHash."""
    seal = SealHash(previous, first, last, created_at)
    for each in content_hashes:
        seal.add(each)
    return seal.hexdigest()
