"""
SNAPSHOT=REPLAY of what trading keeps besides the journal: trades, exposures, controls.

Pure. A trade's row follows from its newest transaction, a control's from the newest that set it,
an exposure from the open trades.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from ..accounts import AccountKey
from ..catalog import Catalog
from ..errors import LedgerError
from ..invariants import Discrepancy, Invariant, numbers, texts
from ..money import parse_amount
from ..trading.trades import DEMO_BOOK
from .stored import told_of

_SNAPSHOT = Invariant.SNAPSHOT_REPLAY


class StoredTrade(NamedTuple):
    """A row of `trades`, each column None where there is no such row."""

    position: int | None
    kind: str | None
    user_id: str | None
    book: str | None
    pair: str | None
    status: str | None
    expires_at: str | None
    client_order_id: str | None
    payout: int | None
    forced: int | None
    told: str | None


class TradeJournal(NamedTuple):
    """
    What the journal has of a trade: its id and where it was opened, the position of its newest
    transaction, and the trade as that tells it.
    """

    id: str
    opened_at: int
    newest: int
    told: Mapping[str, Any]


class StoredControl(NamedTuple):
    """A row of `trading_controls`, each column None where there is no such row."""

    mode: str | None
    position: int | None


def quote_account(told: Mapping[str, Any], catalog: Catalog) -> AccountKey | None:
    """The account that a trade, as it is told, was paid from; None where it tells of none."""
    name, book, user = (told.get(field) for field in ("pair", "book", "user_id"))
    if not isinstance(name, str) or not isinstance(book, str) or not isinstance(user, str):
        return None
    pair = catalog.pairs.get(name)
    return None if pair is None else AccountKey(book, user, pair.quote)


def check_trade(
    account: AccountKey, row: StoredTrade, journal: TradeJournal, catalog: Catalog
) -> Iterator[Discrepancy]:
    """A trade's row, column by column, says what its newest transaction tells."""
    trade, what = journal.told, f"trade {journal.id}"
    if row.told is None:
        yield _of(account, journal, what, None, trade.get("status"))
        return
    expected: dict[str, Any] = {
        **{name: trade.get(name) for name in StoredTrade._fields},
        "position": journal.opened_at,
        "payout": _payout(account, trade, catalog),
        "forced": int(trade.get("forced") is True),
        "told": trade,
    }
    for name, stored in row._replace(told=_decoded(row.told))._asdict().items():
        if stored != expected[name]:
            yield _of(account, journal, f"{what}: {name}", stored, expected[name])


def never_opened(id_: str, user: str, book: str) -> Discrepancy:
    """A trade's row that no transaction opened."""
    return texts(_SNAPSHOT, f"trade {id_} of {user} in {book} that nothing opened", id_, None)


def check_exposure(
    book: str, pair: str, stored: int | None, payouts: int, catalog: Catalog
) -> Iterator[Discrepancy]:
    """What is kept of a book and pair is the sum of what its open options may pay out."""
    if (stored or 0) != payouts:
        known = catalog.pairs.get(pair)
        asset = None if known is None else catalog.assets.get(known.quote)
        yield numbers(
            _SNAPSHOT,
            f"exposure of {book} to {pair}",
            stored,
            payouts,
            scale=0 if asset is None else asset.scale,
        )


def check_control(
    user: str, row: StoredControl, position: int, encoded: str
) -> Iterator[Discrepancy]:
    """A user's control is what the newest transaction that set it tells."""
    set_by = StoredControl(told_of(encoded, "control").get("mode"), position)
    for name, stored, actual in zip(StoredControl._fields, row, set_by, strict=True):
        if stored != actual:
            what = f"control of {user} in {DEMO_BOOK}: {name}"
            yield texts(_SNAPSHOT, what, stored, actual, position=position)


def never_set(user: str, book: str, mode: str) -> Discrepancy:
    """A control that no transaction set, or of another book than demo, which none can set."""
    return texts(_SNAPSHOT, f"control of {user} in {book} that nothing set", mode, None)


def _of(
    account: AccountKey, journal: TradeJournal, what: str, stored: object, actual: object
) -> Discrepancy:
    return texts(
        _SNAPSHOT,
        what,
        _text(stored),
        _text(actual),
        account=account.name,
        position=journal.newest,
    )


def _payout(account: AccountKey, trade: Mapping[str, Any], catalog: Catalog) -> int | None:
    asset = catalog.assets.get(account.asset)
    if "payout" not in trade or asset is None:
        return None
    try:
        return parse_amount(trade["payout"], asset.scale)
    except LedgerError:
        return None


def _decoded(told: object) -> Any:
    try:
        return msgspec.json.decode(told) if isinstance(told, str) else told
    except msgspec.DecodeError:
        return told


def _text(value: object) -> object:
    return msgspec.json.encode(value).decode() if isinstance(value, (dict, list)) else value
