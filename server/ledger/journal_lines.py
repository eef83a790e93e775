"""
The lines of an exported journal: JSON Lines in UTF-8, one object a line, told apart by `line`.

Pure. First the header; then the prices by pair and number; then each batch's seal with the
transactions that it covers, in the order of their positions, each with its postings; then the audit
and the revocations; last the closing line, without which the file is cut. Values are as they are
stored: integers are minor units, `amount` and `balance` of a posting credit-positive, so that
digests, content hashes and seals can be computed from the file alone. A field that is null is left
out.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from .catalog import Book
from .trading.pairs import Pair
from .trading.prices import PriceSource

FORMAT: Literal["tallywire journal"] = "tallywire journal"
VERSION: Literal[1] = 1


class _Line(
    Struct,
    frozen=True,
    kw_only=True,
    tag_field="line",
    tag=str.lower,
    omit_defaults=True,
    forbid_unknown_fields=True,
):
    """What all lines have in common."""


class Header(_Line, frozen=True, kw_only=True):
    """
    What the journal is and where it ends: its epoch, head and the head's seal; and what its
    accounts are counted in: the scale of each asset by its code, and the books; and what is
    traded, which files from before there was trading do not say.
    """

    format: Literal["tallywire journal"]
    version: Literal[1]
    epoch: str
    position: int
    seal: str
    assets: dict[str, int]
    books: list[Book]
    pairs: list[Pair] | None = None


class Price(_Line, frozen=True, kw_only=True):
    """A row of `prices`: in units of the last decimal that prices of the pair have."""

    pair: str
    number: int
    price: int
    source: PriceSource
    actor: str
    told_at: str | None = None
    stamped_at: str


class Seal(_Line, frozen=True, kw_only=True):
    """A row of `seals`: it stands before the transactions `first` to `last`."""

    last: int
    first: int
    created_at: str
    seal: str


class Posting(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A row of `postings`, its account by name; system accounts have nothing from `seq` on."""

    account: str
    amount: int
    held_change: int
    seq: int | None = None
    balance: int | None = None
    held: int | None = None
    total_in: int | None = None
    total_out: int | None = None
    floor: int | None = None
    suspend_below: int | None = None
    alert_below: int | None = None
    status: str | None = None
    digest: str | None = None
    total_earned: int | None = None


class Transaction(_Line, frozen=True, kw_only=True):
    """A row of `transactions`, and its postings by account name."""

    position: int
    id: str
    type: str
    subject: str | None = None
    description: str
    reference: str | None = None
    metadata: str
    internal: str | None = None
    actor: str
    actor_role: str
    reverses: str | None = None
    effective_at: str
    created_at: str
    key_namespace: str | None = None
    key_principal: str | None = None
    key: str | None = None
    fingerprint: str
    encoded: str
    hold: str | None = None
    trade: str | None = None
    content_hash: str
    postings: list[Posting]

    def record(self) -> dict[str, Any]:
        """The row of `transactions` by column, in the table's order."""
        return {name: getattr(self, name) for name in TRANSACTION_COLUMNS}


class Audit(_Line, frozen=True, kw_only=True):
    """A row of `audit`; details: JSON, as text."""

    time: str
    actor: str
    action: str
    target: str
    details: str


class Revocation(_Line, frozen=True, kw_only=True):
    """A row of `revocations`: tokens of the user issued until then (unix seconds) are refused."""

    user_id: str
    revoked_at: int


class End(_Line, frozen=True, kw_only=True):
    """How many lines of each kind came before, and the SHA-256 of all their bytes, in hex."""

    seals: int
    transactions: int
    postings: int
    audit: int
    revocations: int
    prices: int = 0
    sha256: str


Line = Header | Price | Seal | Transaction | Audit | Revocation | End

TRANSACTION_COLUMNS = Transaction.__struct_fields__[:-1]
POSTING_COLUMNS = Posting.__struct_fields__[1:]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode


def encode_line(line: Line) -> bytes:
    """`line` with its line break."""
    return _encode(line) + b"\n"


def decode_line(text: bytes) -> Line:
    """The line that `text` is; raises msgspec.DecodeError where it is none."""
    line: Line = _decode(text)
    return line
