"""
What the ledger is asked to do: a Change, checked as far as it can be without the database.

Every function here takes the outside's terms (decimal strings, own sense) and returns a
Change in the ledger's (minor units, credit-positive legs), or raises the LedgerError that
names what is wrong. An amount that is refused does not raise: the Change carries the refusal,
since the account's status comes before it (contract, section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from .accounts import AccountKey, check_user_id
from .catalog import Asset, Book, Catalog
from .clock import parse_rfc3339, rfc3339
from .errors import InvalidAmount, InvalidRequest, LedgerError
from .intents import (
    ChangeAccount,
    Intent,
    Leg,
    MeetMirrors,
    OpenAccount,
    Post,
    RepairAccount,
    RepairSystemAccount,
    RepairTrading,
    Reverse,
    SetBalance,
)
from .money import parse_amount, parse_positive, split_by_weight
from .transaction_types import ADOPTION, TransactionType

if TYPE_CHECKING:
    from sqlalchemy.sql.base import Executable

LONGEST_DESCRIPTION = 500
LONGEST_REFERENCE = 255
LONGEST_ACTOR = 255
# 255 characters of the caller's, and the index of an item in a batch.
LONGEST_KEY = 260
LARGEST_METADATA = 4096
DEEPEST_METADATA = 5
MOST_POSTINGS = 1000
LARGEST_UPDATES = 1 << 20
# A user's UPDATE with one change and no texts.
UPDATE_SIZE = 900

Amount = str | Decimal

# The type, among the metrics, of what could not be read so far as to have one.
_UNKNOWN = TransactionType(name="unknown", direction="none", counter=None)


class IdempotencyKey(Struct, frozen=True):
    """Makes a request repeatable: unique per namespace and principal."""

    namespace: str
    principal: str
    key: str


class Details(Struct, frozen=True, kw_only=True):
    """
    What every change may carry. effective_at: RFC 3339, or None for the time of the commit;
    internal: any JSON value, seen by admins only; alongside: SQLAlchemy statements to run in
    the same SQL transaction.
    """

    description: str = ""
    reference: str | None = None
    metadata: Mapping[str, Any] | None = None
    internal: Any = None
    effective_at: str | datetime | None = None
    actor: str = "system"
    actor_role: str = "system"
    key: IdempotencyKey | None = None
    alongside: tuple[Executable, ...] = ()


class Change(Struct, frozen=True, kw_only=True):
    """
    One transaction to be. metadata and internal: compact JSON text; effective_at: RFC 3339
    with microseconds, or None; fingerprint: hash of all that makes it this request;
    assets: those of its amounts, with the scale by which these were read;
    size: about how many bytes its updates take;
    refusal: why it is refused where nothing that comes before forbids it; its amounts are then
    stand-ins in the direction asked for, and its fingerprint is nobody's.
    """

    type: TransactionType
    intent: Intent
    description: str
    reference: str | None
    metadata: str
    internal: str | None
    effective_at: str | None
    actor: str
    actor_role: str
    key: IdempotencyKey | None
    fingerprint: str
    assets: tuple[Asset, ...]
    size: int
    alongside: tuple[Executable, ...] = ()
    refusal: LedgerError | None = None

    @property
    def account_keys(self) -> tuple[AccountKey, ...]:
        """Every account that it may touch."""
        return self.intent.account_keys

    @property
    def reverses(self) -> str | None:
        """The id of the transaction that it undoes."""
        return self.intent.original if isinstance(self.intent, Reverse) else None


def directed(
    catalog: Catalog,
    kind: TransactionType,
    user_id: str,
    magnitude: Amount,
    *,
    asset: str,
    book: str,
    details: Details,
) -> Change:
    """A change of one user's balance by a positive `magnitude`; the type gives the direction."""
    in_book, of_asset = place(catalog, kind, book, asset)
    sign = kind.sign(in_book.side)
    if sign == 0:
        raise InvalidRequest(f"{kind.name!r} has no direction of its own: give a signed amount")
    minor, refusal = or_stand_in(1, lambda: parse_positive(magnitude, of_asset.scale))
    return _single(kind, in_book, of_asset, user_id, sign * minor, details, refusal)


def signed(
    catalog: Catalog,
    kind: TransactionType,
    user_id: str,
    amount: Amount,
    *,
    asset: str,
    book: str,
    details: Details,
) -> Change:
    """A change of one user's balance by `amount`, in the account's own sense, not zero."""
    in_book, of_asset = place(catalog, kind, book, asset)
    sign = kind.sign(in_book.side)
    stand_in = sign or (-1 if str(amount).startswith("-") else 1)
    minor, refusal = or_stand_in(stand_in, lambda: _signed(amount, of_asset, kind, sign))
    return _single(kind, in_book, of_asset, user_id, minor, details, refusal)


def moved(
    catalog: Catalog,
    kind: TransactionType,
    user_id: str,
    magnitude: Amount,
    sign: int,
    *,
    asset: str,
    book: str,
    details: Details,
) -> Change:
    """A change by a positive `magnitude` in the direction `sign` (1 or -1), own sense."""
    in_book, of_asset = place(catalog, kind, book, asset)
    minor, refusal = or_stand_in(1, lambda: parse_positive(magnitude, of_asset.scale))
    direction = kind.sign(in_book.side) or sign
    if direction != sign:
        refusal = InvalidAmount(f"a {kind.name} moves the other way", pointer="/amount")
    return _single(kind, in_book, of_asset, user_id, direction * minor, details, refusal)


def transfer(
    catalog: Catalog,
    kind: TransactionType,
    from_user: str,
    to_user: str,
    amount: Amount,
    *,
    asset: str,
    book: str,
    details: Details,
) -> Change:
    """A move of a positive `amount` from one user to another, in one book and asset."""
    _, of_asset = place(catalog, kind, book, asset)
    if kind.counter != "user":
        raise InvalidRequest(f"{kind.name!r} does not move money between users")
    source = AccountKey(book, check_user_id(from_user, "/from_user"), asset)
    target = AccountKey(book, check_user_id(to_user, "/to_user"), asset)
    if source == target:
        raise InvalidRequest("a transfer needs two different users", pointer="/to_user")
    minor, refusal = or_stand_in(1, lambda: parse_positive(amount, of_asset.scale))
    legs = (Leg(source, -minor), Leg(target, minor))
    return make_change(kind, (of_asset,), Post(legs), details, refusal)


def set_balance(
    catalog: Catalog,
    kind: TransactionType,
    user_id: str,
    new_balance: Amount,
    *,
    if_seq: int | None = None,
    asset: str,
    book: str,
    details: Details,
) -> Change:
    """Whatever change makes the balance `new_balance` (own sense), an entry even where none."""
    _, of_asset = place(catalog, kind, book, asset)
    if kind.direction != "either" or kind.counter in (None, "user"):
        raise InvalidRequest(f"{kind.name!r} cannot set a balance")
    minor, refusal = or_stand_in(
        0, lambda: parse_amount(new_balance, of_asset.scale, pointer="/new_balance")
    )
    key = AccountKey(book, check_user_id(user_id), asset)
    counter = AccountKey(book, _counter(kind), asset)
    return make_change(kind, (of_asset,), SetBalance(key, counter, minor, if_seq), details, refusal)


def shared_charge(
    catalog: Catalog,
    kind: TransactionType,
    amount: Amount,
    shares: Sequence[tuple[str, int]],
    *,
    asset: str,
    book: str,
    details: Details,
) -> Change:
    """A positive `amount` charged to distinct users by `shares` (user id, weight), no unit lost."""
    in_book, of_asset = place(catalog, kind, book, asset)
    sign = kind.sign(in_book.side)
    if sign == 0 or kind.counter == "user":
        raise InvalidRequest(f"{kind.name!r} cannot be shared")
    if not 1 <= len(shares) < MOST_POSTINGS:
        raise InvalidRequest(f"1 to {MOST_POSTINGS - 1} shares are allowed", pointer="/shares")
    users = [check_user_id(user, f"/shares/{i}/user_id") for i, (user, _) in enumerate(shares)]
    weights = [weight for _, weight in shares]
    if len(set(users)) != len(users):
        raise InvalidRequest("a user has one share", pointer="/shares")
    # A true or a fraction would be split, to an amount that nobody meant.
    if any(type(weight) is not int for weight in weights):
        raise InvalidRequest("a weight is a whole number", pointer="/shares")
    if min(weights) < 0 or sum(weights) == 0:
        raise InvalidRequest("weights are 0 or more, not all 0", pointer="/shares")
    minor, refusal = or_stand_in(1, lambda: parse_positive(amount, of_asset.scale))
    to_stored = sign * in_book.stored_sign
    legs = [
        Leg(AccountKey(book, user, asset), to_stored * part)
        for user, part in zip(users, split_by_weight(minor, weights), strict=True)
    ]
    legs.append(Leg(AccountKey(book, _counter(kind), asset), -to_stored * minor))
    return make_change(kind, (of_asset,), Post(tuple(legs)), details, refusal)


def open_account(
    catalog: Catalog,
    kind: TransactionType,
    user_id: str,
    *,
    asset: str,
    book: str,
    settings: Mapping[str, Any],
    details: Details,
) -> Change:
    """An account made explicitly; `settings` as in the contract (decimal strings or None)."""
    in_book, of_asset = place(catalog, kind, book, asset)
    key = AccountKey(book, check_user_id(user_id), asset)
    if "status" in settings:
        raise InvalidRequest("a new account is active", pointer="/status")
    checked, refusal = _settings(in_book, of_asset, settings)
    return make_change(kind, (of_asset,), OpenAccount(key, checked), details, refusal)


def change_account(
    catalog: Catalog,
    kind: TransactionType,
    user_id: str,
    *,
    asset: str,
    book: str,
    settings: Mapping[str, Any],
    details: Details,
) -> Change:
    """New settings of an account: thresholds (decimal strings or None) and `status`."""
    in_book, of_asset = place(catalog, kind, book, asset)
    key = AccountKey(book, check_user_id(user_id), asset)
    if not settings:
        raise InvalidRequest("nothing to change: name at least one setting")
    checked, refusal = _settings(in_book, of_asset, settings)
    return make_change(kind, (of_asset,), ChangeAccount(key, checked), details, refusal)


def repair_account(
    catalog: Catalog, kind: TransactionType, key: AccountKey, *, details: Details
) -> Change:
    """The repair of a user account's cached row, holds and mirrors from its entries."""
    _, of_asset = place(catalog, kind, key.book, key.asset)
    return make_change(kind, (of_asset,), RepairAccount(key), details, None)


def repair_system_account(
    catalog: Catalog,
    kind: TransactionType,
    key: AccountKey,
    *,
    position: int,
    balance: int,
    details: Details,
) -> Change:
    """The repair of a system account: at `position` its postings sum to `balance` (stored)."""
    _, of_asset = place(catalog, kind, key.book, key.asset)
    intent = RepairSystemAccount(key, position, balance)
    return make_change(kind, (of_asset,), intent, details, None)


def repair_trading(kind: TransactionType, intent: RepairTrading, *, details: Details) -> Change:
    """The repair of trades, exposures and a control from the journal."""
    return make_change(kind, (), intent, details, None)


def adoption(catalog: Catalog, key: AccountKey, amount: int, mirror: str) -> Change:
    """The booking of an `amount` (minor units, own sense) that others wrote to a mirror's row."""
    stored = catalog.book(key.book).stored_sign * amount
    legs = (Leg(key, stored), Leg(AccountKey(key.book, str(ADOPTION.counter), key.asset), -stored))
    details = Details(metadata={"mirror": mirror})
    return make_change(ADOPTION, (catalog.asset(key.asset),), Post(legs), details, None)


def meet_mirrors(key: AccountKey) -> Change:
    """What puts an account's mirrors right; it is refused with MirrorsMet once that is done."""
    return make_change(ADOPTION, (), MeetMirrors(key), Details(), None)


def refused(refusal: LedgerError) -> Change:
    """What stands for a change that cannot be made, to be refused with `refusal` in its turn."""
    return Change(
        type=_UNKNOWN,
        intent=Post(()),
        description="",
        reference=None,
        metadata="{}",
        internal=None,
        effective_at=None,
        actor="",
        actor_role="",
        key=None,
        fingerprint="",
        assets=(),
        size=0,
        refusal=refusal,
    )


def place(catalog: Catalog, kind: TransactionType, book: str, asset: str) -> tuple[Book, Asset]:
    """The book and asset; raises UnknownBook, UnknownAsset, InvalidRequest on the wrong side."""
    in_book, of_asset = catalog.book(book), catalog.asset(asset)
    if in_book.side not in kind.sides:
        raise InvalidRequest(
            f"a {in_book.side} book such as {book!r} takes no {kind.name}", pointer="/book"
        )
    return in_book, of_asset


def _counter(kind: TransactionType) -> str:
    if kind.by_operation:
        raise InvalidRequest(f"{kind.name!r} is made by an operation of its own")
    if kind.counter is None:
        raise InvalidRequest(f"{kind.name!r} moves no money")
    return kind.counter


def _signed(amount: Amount, asset: Asset, kind: TransactionType, sign: int) -> int:
    minor = parse_amount(amount, asset.scale)
    if minor == 0:
        raise InvalidAmount("the amount is zero", pointer="/amount")
    if sign and (minor > 0) != (sign > 0):
        wanted = "positive" if sign > 0 else "negative"
        raise InvalidAmount(
            f"a {kind.name} is {wanted} in the account's own sense", pointer="/amount"
        )
    return minor


def or_stand_in(stand_in: int, read: Callable[[], int]) -> tuple[int, InvalidAmount | None]:
    """The minor units that `read` gives; where it refuses them, `stand_in` and the refusal."""
    try:
        return read(), None
    except InvalidAmount as refusal:
        return stand_in, refusal


def _single(
    kind: TransactionType,
    book: Book,
    asset: Asset,
    user_id: str,
    own: int,
    details: Details,
    refusal: InvalidAmount | None,
) -> Change:
    counter = _counter(kind)
    if counter == "user":
        raise InvalidRequest(f"{kind.name!r} needs two users")
    stored = book.stored_sign * own
    legs = (
        Leg(AccountKey(book.name, check_user_id(user_id), asset.code), stored),
        Leg(AccountKey(book.name, counter, asset.code), -stored),
    )
    return make_change(kind, (asset,), Post(legs), details, refusal)


def _settings(
    book: Book, asset: Asset, settings: Mapping[str, Any]
) -> tuple[dict[str, int | str | None], InvalidAmount | None]:
    checked: dict[str, int | str | None] = {}
    refusal: InvalidAmount | None = None
    for name, value in settings.items():
        pointer = f"/{name}"
        if name == "status":
            if value not in ("active", "frozen", "closed"):
                raise InvalidRequest("status is active, frozen or closed", pointer=pointer)
            checked[name] = value
        elif name in ("floor", "suspend_below", "alert_below"):
            if book.side == "debit" and name != "alert_below" and value is not None:
                raise InvalidRequest(f"a debit book has no {name}", pointer=pointer)
            try:
                checked[name] = (
                    None if value is None else parse_amount(value, asset.scale, pointer=pointer)
                )
            except InvalidAmount as refused:
                refusal = refusal or refused
        else:
            raise InvalidRequest(f"there is no setting {name!r}", pointer=pointer)
    return checked, refusal


def make_change(
    kind: TransactionType,
    assets: tuple[Asset, ...],
    intent: Intent,
    details: Details,
    refusal: LedgerError | None,
) -> Change:
    """
    The change of `kind` that wants `intent`, its amounts read by the scales of `assets`.

    refusal: see Change. Raises InvalidRequest where the `details` cannot be kept.
    """
    description = check_text(details.description, "description", LONGEST_DESCRIPTION)
    reference = (
        None
        if details.reference is None
        else check_text(details.reference, "reference", LONGEST_REFERENCE)
    )
    metadata = details.metadata if details.metadata is not None else {}
    if not isinstance(metadata, Mapping):
        raise InvalidRequest("metadata is an object", pointer="/metadata")
    metadata_text = check_json(metadata, "metadata")
    internal = None if details.internal is None else check_json(details.internal, "internal")
    effective_at = _effective(details.effective_at)
    if details.key is not None:
        _check_key(details.key)
    fingerprint = sha256(
        msgspec.json.encode(
            [kind.name, intent, description, reference, metadata, details.internal, effective_at],
            order="sorted",
        )
    ).hexdigest()
    users = sum(not key.is_system for key in intent.account_keys)
    size = users * (UPDATE_SIZE + len(description) + len(metadata_text))
    if size > LARGEST_UPDATES:
        raise InvalidRequest("the texts are too long for so many users")
    return Change(
        type=kind,
        intent=intent,
        description=description,
        reference=reference,
        metadata=metadata_text,
        internal=internal,
        effective_at=effective_at,
        actor=check_text(details.actor, "actor", LONGEST_ACTOR),
        actor_role=check_text(details.actor_role, "actor_role", LONGEST_ACTOR),
        key=details.key,
        fingerprint="" if refusal is not None else fingerprint,
        assets=assets,
        size=size,
        alongside=details.alongside,
        refusal=refusal,
    )


def _check_key(key: IdempotencyKey) -> None:
    check_text(key.principal, "principal", LONGEST_ACTOR)
    if not check_text(key.key, "idempotency_key", LONGEST_KEY):
        raise InvalidRequest("an idempotency key is not empty", pointer="/idempotency_key")


def _effective(value: str | datetime | None) -> str | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        value = value.isoformat()
    try:
        moment = parse_rfc3339(value)
        # The day before must exist: in some book's time zone it is still that day.
        _ = moment - timedelta(days=1)
        return rfc3339(moment)
    except (ValueError, TypeError, OverflowError):
        raise InvalidRequest(
            "effective_at is an RFC 3339 time with an offset", pointer="/effective_at"
        ) from None


def check_text(text: object, field: str, longest: int) -> str:
    """`text` itself where it is a string fit to be stored, else InvalidRequest."""
    pointer = f"/{field}"
    if not isinstance(text, str):
        raise InvalidRequest(f"{field} is a string", pointer=pointer)
    if len(text) > longest:
        raise InvalidRequest(f"{field} has at most {longest} characters", pointer=pointer)
    if not _storable(text):
        raise InvalidRequest(f"{field} holds NUL or a lone surrogate", pointer=pointer)
    return text


def check_json(value: Any, field: str) -> str:
    """The compact JSON text of `value` where it is small, shallow and storable."""
    pointer = f"/{field}"
    _check_depth(value, DEEPEST_METADATA, field)
    try:
        text = msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidRequest(
            f"{field} cannot be written as JSON: {error}", pointer=pointer
        ) from None
    if len(text) > LARGEST_METADATA:
        raise InvalidRequest(f"{field} has at most {LARGEST_METADATA} bytes", pointer=pointer)
    return text.decode()


def _check_depth(value: Any, left: int, field: str) -> None:
    if isinstance(value, str):
        if not _storable(value):
            raise InvalidRequest(f"{field} holds NUL or a lone surrogate", pointer=f"/{field}")
        return
    if isinstance(value, Mapping):
        parts: list[Any] = [*value.keys(), *value.values()]
    elif isinstance(value, (list, tuple)):
        parts = list(value)
    else:
        return
    if left == 0:
        raise InvalidRequest(
            f"{field} is nested at most {DEEPEST_METADATA} deep", pointer=f"/{field}"
        )
    for part in parts:
        _check_depth(part, left - 1, field)


def _storable(text: str) -> bool:
    return not any(ch == "\x00" or "\ud800" <= ch <= "\udfff" for ch in text)
