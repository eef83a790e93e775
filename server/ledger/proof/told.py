"""
SCREEN=LEDGER: what a transaction's stored updates tell is what its row and postings hold.

Pure. Screens, histories and buses pass the stored updates on as they are, so what is wrong in
them is wrong everywhere. Fields that are not known here may be of a newer version.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from msgspec import UNSET, structs

from ..accounts import Account, AccountKey
from ..catalog import Catalog
from ..invariants import NOBODY, Discrepancy, Invariant, texts
from ..money import format_amount
from ..updates import Committed
from ..views import balance_view
from .stored import StoredEntry, misfit
from .trades import Around, check_trading

_AMOUNTS = frozenset(
    (
        "balance",
        "held",
        "available",
        "floor",
        "suspend_below",
        "alert_below",
        "total_in",
        "total_out",
        "total_earned",
        "amount",
        "held_change",
        "balance_before",
    )
)
_decode = msgspec.json.Decoder().decode


def check_updates(
    record: Mapping[str, Any],
    legs: Sequence[tuple[AccountKey, StoredEntry]],
    around: Around,
    catalog: Catalog,
) -> Iterator[Discrepancy]:
    """
    What the updates in a transaction's row tell otherwise than the row's columns, its `legs`, and,
    of a trade, what stands `around` it.
    """
    position = record["position"]
    try:
        updates = told_updates(record)
        said = _said(record)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        yield texts(Invariant.SCREEN_LEDGER, "encoded updates", None, error, position=position)
        return
    changes: dict[str, dict[str, dict[str, Any] | None]] = defaultdict(dict)
    for key, entry in legs:
        if not key.is_system:
            changes[key.owner][key.name] = _change(key, entry, catalog)
    seen_by = [user for user, _ in updates]
    expected = sorted(changes.keys() | ({record["subject"]} - {None}))
    if seen_by != (expected or [None]):
        yield texts(
            Invariant.SCREEN_LEDGER,
            "users told of it",
            _as_text(seen_by),
            _as_text(expected),
            position=position,
        )
    for user, told in updates:
        actual = {**said, "user_id": user}
        yield from _differences(told, actual, f"update of {user}", NOBODY, position)
        yield from _changes(told.get("changes"), changes.get(user or "", {}), user, position)
    yield from check_trading(record, updates, legs, around, catalog)


def told_updates(record: Mapping[str, Any]) -> list[tuple[str | None, dict[str, Any]]]:
    """
    Each user whom the row's encoded updates name, and that user's update as admins see it.

    Raises ValueError, TypeError, AttributeError or KeyError where these are none.
    """
    committed = Committed(
        record["position"], record["id"], record["type"], record["encoded"].encode()
    )
    bodies = committed.admin_bodies()
    users = committed.users() or (None,)
    updates = [_decode(body) for body in bodies]
    if len(updates) != len(users) or not all(isinstance(told, dict) for told in updates):
        raise ValueError("not one object for each user")
    return list(zip(users, updates, strict=True))


def told_accounts(record: Mapping[str, Any]) -> set[str]:
    """The accounts that the row's encoded updates tell of; none where these cannot be read."""
    try:
        return {change["account"] for _, told in told_updates(record) for change in told["changes"]}
    except (ValueError, TypeError, AttributeError, KeyError):
        return set()


def _said(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the row's columns say, under the names that updates have for it."""
    internal = record["internal"]
    return {
        "position": record["position"],
        "transaction_id": record["id"],
        "change_type": record["type"],
        "description": record["description"],
        "reference": record["reference"],
        "metadata": _decode(record["metadata"]),
        "reverses": record["reverses"],
        "effective_at": record["effective_at"],
        "timestamp": record["created_at"],
        "internal": None if internal is None else _decode(internal),
        "actor": record["actor"],
        "actor_role": record["actor_role"],
        "idempotency_key": record["key"],
    }


def _change(key: AccountKey, entry: StoredEntry, catalog: Catalog) -> dict[str, Any] | None:
    """What a CHANGE tells of an entry; None where the entry is not whole or has no measure."""
    book, asset = catalog.books.get(key.book), catalog.assets.get(key.asset)
    if misfit(entry) is not None or entry.status is None or book is None or asset is None:
        return None
    account = Account(
        0,
        key,
        entry.balance or 0,
        entry.held or 0,
        entry.total_in or 0,
        entry.total_out or 0,
        entry.floor,
        entry.suspend_below,
        entry.alert_below,
        entry.status,
        entry.seq or 0,
        entry.digest or "",
        entry.total_earned,
    )
    view = structs.asdict(balance_view(account, catalog))
    sign, scale = book.stored_sign, asset.scale
    view["amount"] = format_amount(sign * entry.amount, scale)
    view["held_change"] = format_amount(entry.held_change, scale)
    view["balance_before"] = format_amount(sign * (account.balance - entry.amount), scale)
    return view


def _changes(
    told: Any, actual: Mapping[str, dict[str, Any] | None], user: str | None, position: int
) -> Iterator[Discrepancy]:
    if not isinstance(told, list) or not all(isinstance(each, dict) for each in told):
        yield texts(Invariant.SCREEN_LEDGER, f"changes of {user}", told, None, position=position)
        return
    names = [change.get("account") for change in told]
    if names != sorted(actual):
        for name in sorted(actual.keys() - set(names)):
            yield texts(
                Invariant.SCREEN_LEDGER, "change", None, name, account=name, position=position
            )
        for name in names:
            if name not in actual or names.count(name) > 1:
                yield texts(
                    Invariant.SCREEN_LEDGER,
                    "change",
                    name,
                    None,
                    account=str(name),
                    position=position,
                )
    for change in told:
        expected = actual.get(change.get("account"))
        if expected is not None:
            yield from _differences(change, expected, "told", expected["account"], position)


def _differences(
    told: Mapping[str, Any], actual: Mapping[str, Any], what: str, account: str, position: int
) -> Iterator[Discrepancy]:
    for name, value in actual.items():
        if (given := told.get(name, UNSET)) != value:
            stored = _as_text(given)
            yield Discrepancy(
                invariant=Invariant.SCREEN_LEDGER,
                what=f"{what}: {name}",
                account=account,
                position=position,
                stored=stored,
                actual=_as_text(value),
                difference=_difference(stored, value) if name in _AMOUNTS else None,
            )


def _difference(stored: str | None, actual: Any) -> str | None:
    try:
        return f"{Decimal(stored or '') - Decimal(actual):f}"
    except (InvalidOperation, TypeError):
        return None


def _as_text(value: Any) -> str | None:
    if value is UNSET:
        return None
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()
