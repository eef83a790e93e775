"""
Holds: funds reserved for later, not moved yet.

Pure. A hold belongs to one account; its id is that of the transaction that placed it. What is
open of an account's holds is the account's `held`, so every step is an entry with a
`held_change`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from .accounts import AccountKey, check_user_id
from .catalog import Catalog
from .changes import Amount, Change, Details, make_change, or_stand_in, place
from .clock import parse_rfc3339, rfc3339
from .errors import HoldExceeded, HoldNotOpen, InvalidRequest
from .intents import ConfirmHold, EndHold, Leg, PlaceHold, Released
from .money import parse_positive
from .transaction_types import TransactionType

# Ten years: beyond it somebody means "until it is ended", which is no time at all.
LONGEST_HOLD_SECONDS = 10 * 365 * 86_400

Status = Literal["open", "confirmed", "voided", "expired"]


class Hold(Struct, frozen=True, kw_only=True):
    """
    One hold after its newest transaction. amount, remaining: minor units; status: ``open``,
    ``confirmed``, ``voided`` or ``expired``; placed_by: the actor who placed it; expires_at:
    RFC 3339 or None; position: where it was placed, None until that is committed.
    """

    id: str
    key: AccountKey
    amount: int
    remaining: int
    status: Status
    placed_by: str
    expires_at: str | None
    reference: str | None
    position: int | None = None

    def open_at(self, now: datetime) -> bool:
        """Whether it can still be confirmed at `now`: not from `expires_at` on."""
        expired = self.expires_at is not None and parse_rfc3339(self.expires_at) <= now
        return self.status == "open" and not expired


def place_hold(
    catalog: Catalog,
    kind: TransactionType,
    user_id: str,
    amount: Amount,
    *,
    expires_in_s: int | None,
    asset: str,
    book: str,
    details: Details,
) -> Change:
    """A hold of a positive `amount`; it expires after so many seconds, never where None."""
    _, of_asset = place(catalog, kind, book, asset)
    if expires_in_s is not None and (
        type(expires_in_s) is not int or not 1 <= expires_in_s <= LONGEST_HOLD_SECONDS
    ):
        raise InvalidRequest(
            f"a hold expires in 1 to {LONGEST_HOLD_SECONDS} seconds", pointer="/expires_in_s"
        )
    key = AccountKey(book, check_user_id(user_id), asset)
    minor, refusal = or_stand_in(1, lambda: parse_positive(amount, of_asset.scale))
    return make_change(kind, (of_asset,), PlaceHold(key, minor, expires_in_s), details, refusal)


def confirm_hold(
    catalog: Catalog,
    kind: TransactionType,
    hold: Hold,
    amount: Amount | None,
    *,
    release_remainder: bool,
    to_user: str | None,
    details: Details,
) -> Change:
    """
    The move of a positive `amount` of `hold`, or of all that remains where None, to `to_user`,
    or out of the ledger where None.
    """
    _, of_asset = place(catalog, kind, hold.key.book, hold.key.asset)
    owner = kind.counter if to_user is None else check_user_id(to_user, "/to_user")
    assert owner is not None
    if owner == hold.key.owner:
        raise InvalidRequest("a hold is confirmed to somebody else", pointer="/to_user")
    minor, refusal = (
        (None, None)
        if amount is None
        else or_stand_in(1, lambda: parse_positive(amount, of_asset.scale))
    )
    to = AccountKey(hold.key.book, owner, hold.key.asset)
    intent = ConfirmHold(hold.key, hold.id, minor, release_remainder, to)
    return make_change(kind, (of_asset,), intent, details, refusal)


def end_hold(
    catalog: Catalog, kind: TransactionType, hold: Hold, status: Released, *, details: Details
) -> Change:
    """The release of what remains of `hold`, which becomes `status`: voided or expired."""
    _, of_asset = place(catalog, kind, hold.key.book, hold.key.asset)
    return make_change(kind, (of_asset,), EndHold(hold.key, hold.id, status), details, None)


def placed(
    intent: PlaceHold, transaction_id: str, actor: str, reference: str | None, now: datetime
) -> tuple[tuple[Leg, ...], Hold]:
    """The leg that reserves the amount, and the hold."""
    expires = intent.expires_in_s
    hold = Hold(
        id=transaction_id,
        key=intent.key,
        amount=intent.amount,
        remaining=intent.amount,
        status="open",
        placed_by=actor,
        expires_at=None if expires is None else rfc3339(now + timedelta(seconds=expires)),
        reference=reference,
    )
    return (Leg(intent.key, 0, intent.amount),), hold


def confirmed(
    intent: ConfirmHold, hold: Hold, now: datetime
) -> tuple[tuple[Leg, ...], Hold, HoldExceeded | None]:
    """
    The legs that move the amount, the hold after them, and the refusal where it is too much:
    the legs then move what remains, so that what comes before the amount can still refuse.

    Raises HoldNotOpen.
    """
    if not hold.open_at(now):
        raise HoldNotOpen(f"the hold is {hold.status if hold.status != 'open' else 'expired'}")
    wanted = hold.remaining if intent.amount is None else intent.amount
    amount = min(wanted, hold.remaining)
    refusal = None if wanted == amount else HoldExceeded(pointer="/amount")
    remaining = 0 if intent.release_remainder else hold.remaining - amount
    legs = (
        Leg(intent.key, -amount, remaining - hold.remaining),
        Leg(intent.to, amount),
    )
    status: Status = "open" if remaining else "confirmed"
    return legs, replace(hold, remaining=remaining, status=status), refusal


def ended(intent: EndHold, hold: Hold, now: datetime) -> tuple[tuple[Leg, ...], Hold]:
    """The leg that releases what remains, and the hold after it; raises HoldNotOpen."""
    due = intent.status != "expired" or not hold.open_at(now)
    if hold.status != "open" or not due:
        raise HoldNotOpen(f"the hold is {hold.status}")
    return (Leg(intent.key, 0, -hold.remaining),), replace(hold, remaining=0, status=intent.status)
