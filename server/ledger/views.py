"""The contract's objects (section 3) made from the ledger's states: BALANCE, CHANGE, UPDATE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw, structs

from . import objects
from .accounts import Account, AccountKey
from .catalog import Catalog
from .holds import Hold
from .intents import (
    ChangeAccount,
    ForceOption,
    OpenAccount,
    RepairTrading,
    Reverse,
    SetControl,
)
from .money import format_amount, parse_amount
from .objects import AccountEntry, Balance, DatedBalance
from .rules import Decision, Entry
from .trading.pairs import RATE_DECIMALS, Pair
from .trading.prices import Price, format_price
from .trading.trades import trade_view

# Holds, settings and chains follow the order of booking: no effective date is theirs.
_BY_BOOKING = (
    "held",
    "available",
    "floor",
    "suspend_below",
    "alert_below",
    "status",
    "seq",
    "digest",
)


def balance_view(account: Account, catalog: Catalog) -> Balance:
    """The BALANCE object of `account`: decimal strings, own sense."""
    return Balance(**_balance(account, catalog))


def dated_balance_view(account: Account, catalog: Catalog) -> DatedBalance:
    """The BALANCE object of an account by effective date: what goes by booking is null."""
    return DatedBalance(**{**_balance(account, catalog), **dict.fromkeys(_BY_BOOKING)})


def change_view(entry: Entry, catalog: Catalog) -> AccountEntry:
    """The CHANGE object of `entry`: its BALANCE and how it came about."""
    fields = _balance(entry.after, catalog)
    scale = fields["scale"]
    sign = catalog.book(entry.after.key.book).stored_sign
    fields["amount"] = format_amount(entry.amount, scale)
    fields["held_change"] = format_amount(entry.held_change, scale)
    fields["balance_before"] = format_amount(sign * entry.before.balance, scale)
    if entry.low_balance:
        fields["alert"] = "low_balance"
    return AccountEntry(**fields)


def _balance(account: Account, catalog: Catalog) -> dict[str, Any]:
    key = account.key
    book, asset = catalog.book(key.book), catalog.asset(key.asset)
    scale = asset.scale
    balance = book.stored_sign * account.balance
    has_limits = book.side == "credit"
    fields = {
        "account": key.name,
        "book": key.book,
        "asset": key.asset,
        "scale": scale,
        "side": book.side,
        "balance": format_amount(balance, scale),
        "held": format_amount(account.held, scale),
        "available": format_amount(balance - account.held, scale) if has_limits else None,
        "floor": _optional(account.floor, scale),
        "suspend_below": _optional(account.suspend_below, scale),
        "alert_below": _optional(account.alert_below, scale),
        "status": account.status,
        "seq": account.seq,
        "digest": account.digest,
        "total_in": format_amount(account.total_in, scale),
        "total_out": format_amount(account.total_out, scale),
    }
    if account.total_earned is not None:
        fields["total_earned"] = format_amount(account.total_earned, scale)
    return fields


def update_views(
    decision: Decision, position: int, created_at: str, catalog: Catalog
) -> tuple[list[str], list[dict[str, Any]]]:
    """
    The touched users in order, and the UPDATE of each, without epoch.

    created_at: the batch's time, RFC 3339; it stands in for an absent effective date.
    """
    change = decision.change
    by_user: dict[str, list[AccountEntry]] = {}
    for entry in decision.entries:
        by_user.setdefault(entry.after.key.owner, []).append(change_view(entry, catalog))
    if decision.subject is not None:
        by_user.setdefault(decision.subject, [])
    users = sorted(by_user)
    seen_by: list[str | None] = [*users] or [None]
    updates: list[dict[str, Any]] = [
        {
            "position": position,
            "transaction_id": decision.transaction_id,
            "user_id": user,
            "change_type": change.type.name,
            "description": change.description,
            "reference": change.reference,
            "metadata": Raw(change.metadata.encode()),
            "reverses": change.reverses,
            "effective_at": change.effective_at or created_at,
            "timestamp": created_at,
            "changes": [] if user is None else by_user[user],
        }
        for user in seen_by
    ]
    return users, updates


def hold_view(hold: Hold, catalog: Catalog) -> objects.Hold:
    """The HOLD object as admins see it; its owner sees it as `owners_hold` has it."""
    scale = catalog.asset(hold.key.asset).scale
    return objects.Hold(
        id=hold.id,
        user_id=hold.key.owner,
        account=hold.key.name,
        amount=format_amount(hold.amount, scale),
        remaining=format_amount(hold.remaining, scale),
        status=hold.status,
        placed_by=hold.placed_by,
        expires_at=hold.expires_at,
        reference=hold.reference,
    )


def hold_from_view(view: Mapping[str, Any], position: int, catalog: Catalog) -> Hold:
    """The hold, placed at `position`, that `view` shows to admins."""
    key = AccountKey.parse(view["account"])
    scale = catalog.asset(key.asset).scale
    return Hold(
        id=view["id"],
        key=key,
        amount=parse_amount(view["amount"], scale),
        remaining=parse_amount(view["remaining"], scale),
        status=view["status"],
        placed_by=view["placed_by"],
        expires_at=view["expires_at"],
        reference=view["reference"],
        position=position,
    )


def owners_hold(view: objects.Hold) -> objects.Hold:
    """The HOLD object `view` for its owner: who else placed it is not told."""
    return view if view.placed_by == view.user_id else structs.replace(view, placed_by=None)


def pair_view(pair: Pair, catalog: Catalog) -> objects.Pair:
    """The PAIR object of `pair`."""
    base, quote = catalog.asset(pair.base).scale, catalog.asset(pair.quote).scale
    return objects.Pair(
        pair=pair.pair,
        base=pair.base,
        quote=pair.quote,
        price_decimals=pair.price_decimals,
        minimum=format_amount(pair.minimum, base),
        fee_bps=pair.fee_bps,
        durations=[
            objects.OptionDuration(
                duration_s=each.duration_s,
                payout_rate=format_amount(each.payout_rate, RATE_DECIMALS),
            )
            for each in pair.durations
        ],
        maximum_stake=format_amount(pair.maximum_stake, quote),
        exposure_limit=format_amount(pair.exposure_limit, quote),
        stale_after_s=pair.stale_after_s,
        settlement_age_s=pair.settlement_age_s,
    )


def price_view(price: Price, pair: Pair) -> objects.Price:
    """The PRICE object of a `price` of `pair`."""
    return objects.Price(
        pair=price.pair,
        price=format_price(price.price, pair.price_decimals),
        source=price.source,
        time=price.time,
    )


def own_fields(decision: Decision, catalog: Catalog) -> dict[str, dict[str, Any]]:
    """What one user sees of a transaction and the other users do not."""
    hold, trade, control = decision.hold, decision.trade, decision.control
    if hold is not None:
        return {hold.key.owner: {"hold": owners_hold(hold_view(hold, catalog))}}
    if trade is not None:
        return {trade.user_id: {"trade": trade_view(trade, catalog)}}
    if control is not None:
        return {control.user: {"control": _control_view(control)}}
    return {}


def _control_view(control: SetControl) -> objects.Control:
    return objects.Control(mode=control.mode, book=control.book)


def audit_view(decision: Decision, created_at: str, catalog: Catalog) -> dict[str, Any] | None:
    """The audit row of what an operator did by this transaction, or None."""
    change, intent = decision.change, decision.change.intent
    forced = isinstance(intent, ForceOption) or (isinstance(intent, Reverse) and intent.forced)
    if not change.type.audited and not forced:
        return None
    details: dict[str, Any] = {"transaction_id": decision.transaction_id}
    target = change.reverses or ", ".join(key.name for key in change.account_keys)
    if forced:
        details["forced"] = True
    if isinstance(intent, SetControl):
        target = f"{intent.book}/{intent.user}"
        details["mode"] = intent.mode
    if isinstance(intent, RepairTrading):
        target = intent.user or ", ".join("/".join(place) for place in intent.places)
    if isinstance(intent, ForceOption):
        target = intent.option_id
        details["outcome"] = intent.outcome
    if isinstance(intent, (OpenAccount, ChangeAccount)):
        scale = catalog.asset(intent.key.asset).scale
        for name, value in intent.settings.items():
            details[name] = format_amount(value, scale) if isinstance(value, int) else value
    return {
        "time": created_at,
        "actor": change.actor,
        "action": change.type.name,
        "target": target,
        "details": msgspec.json.encode(details).decode(),
    }


def admin_fields(decision: Decision, catalog: Catalog) -> dict[str, Any]:
    """What only admins see of a transaction."""
    change = decision.change
    fields: dict[str, Any] = {
        "internal": None if change.internal is None else Raw(change.internal.encode()),
        "actor": change.actor,
        "actor_role": change.actor_role,
        "idempotency_key": None if change.key is None else change.key.key,
    }
    if decision.hold is not None:
        fields["hold"] = hold_view(decision.hold, catalog)
    if decision.trade is not None:
        fields["trade"] = trade_view(decision.trade, catalog)
    if decision.control is not None:
        fields["control"] = _control_view(decision.control)
    return fields


def _optional(minor: int | None, scale: int) -> str | None:
    return None if minor is None else format_amount(minor, scale)
