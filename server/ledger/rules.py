"""
The rules: what one change does to the accounts it touches, or why it is refused.

Pure: decides on the states that the changes before it left, and changes nothing.
Refusals come in the order of the contract, section 3: not found, closed, frozen, suspended,
amount, funds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from . import holds
from .accounts import Account, AccountKey
from .catalog import Catalog
from .changes import Change
from .clock import parse_rfc3339
from .digest import entry_digest
from .errors import (
    AccountClosed,
    AccountFrozen,
    AccountInconsistent,
    AccountSuspended,
    AlreadyReversed,
    Conflict,
    InsufficientFunds,
    InvalidRequest,
    LedgerError,
    NotFound,
    Paused,
    UnknownUser,
)
from .holds import Hold
from .intents import (
    ChangeAccount,
    EndHold,
    ForceOption,
    HoldIntent,
    Leg,
    MeetMirrors,
    OpenAccount,
    OpenOption,
    PlaceHold,
    Post,
    RepairAccount,
    RepairSystemAccount,
    RepairTrading,
    Reverse,
    SetBalance,
    SetControl,
    SpotOrder,
    TradeIntent,
)
from .money import check_range, format_amount
from .trading import options, spot
from .trading.market import Market
from .trading.trades import Trade, check_demo
from .transaction_types import OPTION_REFUNDED, TransactionType


class Entry(Struct, frozen=True):
    """What one transaction does to one user account; `amount` in minor units, own sense."""

    before: Account
    after: Account
    amount: int
    held_change: int
    low_balance: bool


class Decision(Struct, frozen=True):
    """
    An accepted change: an entry per user account touched, in account name order, the legs of
    the system accounts, and the hold or the trade that it belongs to, as it leaves it.

    subject: a user who sees it whether it touches an account of theirs or not.
    """

    change: Change
    transaction_id: str
    entries: tuple[Entry, ...]
    system_legs: tuple[Leg, ...]
    hold: Hold | None = None
    trade: Trade | None = None
    control: SetControl | None = None
    subject: str | None = None


class MirrorsMet(LedgerError):
    """The account's mirrors were met, and there was nothing else to change."""

    code = "mirrors_met"


class State(NamedTuple):
    """
    What is decided on: the accounts that changes name (seq 0 where one does not exist yet), those
    of them that do not equal their last entry, the holds by id, the ids of the transactions that
    are reversed, and the market, None where no change has to do with it.
    """

    accounts: Mapping[AccountKey, Account]
    inconsistent: Collection[AccountKey] = ()
    holds: Mapping[str, Hold] = {}
    reversed_ids: Collection[str] = ()
    market: Market | None = None


def decide(
    change: Change, transaction_id: str, state: State, catalog: Catalog, now: datetime
) -> Decision:
    """
    Decide `change` on the current `state`, at the time `now`. An inconsistent account is given as
    its last entry left it, for its repair. Raises the LedgerError that refuses the change.
    """
    if catalog.paused and not change.type.passes_status:
        raise Paused
    for asset in change.assets:
        if catalog.asset(asset.code) != asset:
            raise Conflict(f"the scale of {asset.code} was changed meanwhile")
    _check_time(change, catalog, now)
    intent, accounts = change.intent, state.accounts
    for key in change.account_keys:
        if key in state.inconsistent and not isinstance(intent, RepairAccount):
            raise AccountInconsistent(f"{key.name} does not equal its last entry")
    if isinstance(intent, Post):
        return _post(change, transaction_id, intent.legs, accounts, catalog)
    if isinstance(intent, SetBalance):
        return _set_balance(change, transaction_id, intent, accounts, catalog)
    if isinstance(intent, HoldIntent):
        return _hold(change, transaction_id, intent, state, catalog, now)
    if isinstance(intent, TradeIntent):
        return _trade(change, transaction_id, intent, state, catalog)
    if isinstance(intent, SetControl):
        check_demo(intent.book)
        return Decision(change, transaction_id, (), (), control=intent, subject=intent.user)
    if isinstance(intent, Reverse):
        if intent.original in state.reversed_ids:
            raise AlreadyReversed
        return _post(change, transaction_id, intent.legs, accounts, catalog)
    if isinstance(intent, MeetMirrors):
        raise MirrorsMet
    if isinstance(intent, RepairAccount):
        return _repair(change, transaction_id, accounts[intent.key], catalog)
    if isinstance(intent, RepairSystemAccount):
        return Decision(change, transaction_id, (), (Leg(intent.key, 0),))
    if isinstance(intent, RepairTrading):
        return Decision(change, transaction_id, (), (), subject=intent.user)
    return _settings(change, transaction_id, intent, state, catalog)


def _check_time(change: Change, catalog: Catalog, now: datetime) -> None:
    moment = now
    if change.effective_at is not None:
        moment = parse_rfc3339(change.effective_at)
        if moment > now:
            raise InvalidRequest("effective_at lies in the future", pointer="/effective_at")
    elif change.type.direction == "none":
        # What moves no money changes no statement: a closed book's accounts can still be set.
        return
    for name in {key.book for key in change.account_keys}:
        catalog.book(name).check_effective(moment)


def _post(
    change: Change,
    transaction_id: str,
    legs: tuple[Leg, ...],
    accounts: Mapping[AccountKey, Account],
    catalog: Catalog,
    pointer: str = "/amount",
) -> Decision:
    _refuse_unbalanced(legs)
    user_legs = [leg for leg in legs if not leg.key.is_system]
    opened = [_opened(accounts[leg.key], catalog, strict=True) for leg in user_legs]
    for refuse in (_refuse_closed, _refuse_frozen, _refuse_suspended):
        for account, leg in zip(opened, user_legs, strict=True):
            refuse(account, leg, change.type)
    _refuse_amount(change)
    entries = [
        _moved(account, leg, change, catalog, transaction_id)
        for account, leg in zip(opened, user_legs, strict=True)
    ]
    if not _passes_floor(change):
        for entry in entries:
            _refuse_overdraft(entry, pointer, catalog)
    return Decision(
        change,
        transaction_id,
        tuple(sorted(entries, key=lambda entry: entry.after.key.name)),
        tuple(leg for leg in legs if leg.key.is_system),
    )


def _set_balance(
    change: Change,
    transaction_id: str,
    intent: SetBalance,
    accounts: Mapping[AccountKey, Account],
    catalog: Catalog,
) -> Decision:
    account = _opened(accounts[intent.key], catalog, strict=True)
    if intent.if_seq is not None and intent.if_seq != account.seq:
        raise Conflict(f"{intent.key.name} is at seq {account.seq}, not {intent.if_seq}")
    stored = catalog.book(intent.key.book).stored_sign * intent.new_balance
    moved = stored - account.balance
    legs = (Leg(intent.key, moved), Leg(intent.counter, -moved))
    return _post(change, transaction_id, legs, accounts, catalog)


def _hold(
    change: Change,
    transaction_id: str,
    intent: HoldIntent,
    state: State,
    catalog: Catalog,
    now: datetime,
) -> Decision:
    if isinstance(intent, PlaceHold):
        legs, hold = holds.placed(intent, transaction_id, change.actor, change.reference, now)
    else:
        before = state.holds.get(intent.hold_id)
        if before is None:
            raise NotFound("there is no such hold")
        if isinstance(intent, EndHold):
            legs, hold = holds.ended(intent, before, now)
        else:
            # What is released passes a freeze; what is given to another user does not.
            if not intent.to.is_system and state.accounts[intent.to].status == "frozen":
                raise AccountFrozen(f"{intent.to.name} is frozen")
            legs, hold, refusal = holds.confirmed(intent, before, now)
            if refusal is not None and change.refusal is None:
                change = replace(change, refusal=refusal)
    decision = _post(change, transaction_id, legs, state.accounts, catalog)
    return replace(decision, hold=hold)


def _trade(
    change: Change, transaction_id: str, intent: TradeIntent, state: State, catalog: Catalog
) -> Decision:
    market = state.market
    assert market is not None
    trade: Trade | None
    refusal: LedgerError | None = None
    subject = None
    pointer = "/stake"
    if isinstance(intent, SpotOrder):
        pointer = intent.pointer
        legs, trade, refusal = spot.filled(intent, transaction_id, market, catalog)
    elif isinstance(intent, OpenOption):
        legs, trade, refusal = options.opened(intent, transaction_id, market, catalog)
    else:
        if isinstance(intent, ForceOption):
            legs, trade = options.forced(intent, market)
        else:
            legs, trade = options.settled(intent, market)
        # A loss touches no account of theirs, yet they are told.
        subject = trade.user_id
        if trade.status == "refunded":
            change = replace(change, type=OPTION_REFUNDED)
    if refusal is not None and change.refusal is None:
        change = replace(change, refusal=refusal)
    decision = _post(change, transaction_id, legs, state.accounts, catalog, pointer)
    return replace(decision, trade=trade, subject=subject)


def _repair(change: Change, transaction_id: str, account: Account, catalog: Catalog) -> Decision:
    if not account.seq:
        raise NotFound(f"{account.key.name} has no entries")
    entry = _entry(account, account, 0, 0, False, catalog, transaction_id)
    return Decision(change, transaction_id, (entry,), ())


def _settings(
    change: Change,
    transaction_id: str,
    intent: OpenAccount | ChangeAccount,
    state: State,
    catalog: Catalog,
) -> Decision:
    account = state.accounts[intent.key]
    opening = isinstance(intent, OpenAccount)
    if opening and account.seq:
        raise Conflict(f"{intent.key.name} exists already")
    if not opening and not account.seq:
        raise NotFound(f"there is no account {intent.key.name}")
    account = _opened(account, catalog, strict=False)
    closing = intent.settings.get("status") == "closed"
    if account.status == "closed" and "status" not in intent.settings:
        raise AccountClosed
    _refuse_amount(change)
    if closing and (account.balance or account.held):
        raise Conflict("only an account with a zero balance and nothing held can be closed")
    if closing and state.market is not None and state.market.has_open_options(intent.key):
        raise Conflict("an account with open options cannot be closed")
    after = replace(account, **intent.settings)
    entry = _entry(account, after, 0, 0, False, catalog, transaction_id)
    return Decision(change, transaction_id, (entry,), ())


def _opened(account: Account, catalog: Catalog, *, strict: bool) -> Account:
    """The account as it stands, or with its book's defaults where this is its first entry."""
    if account.seq:
        return account
    book = catalog.book(account.key.book)
    if strict and book.accounts == "strict":
        raise UnknownUser(f"book {book.name!r} has no account for {account.key.owner!r}")
    return replace(account, floor=book.floor_for(catalog.asset(account.key.asset)))


def _refuse_unbalanced(legs: tuple[Leg, ...]) -> None:
    # No function of the ledger makes such legs, but a program can: money never changes its book.
    sums: dict[tuple[str, str], int] = {}
    for leg in legs:
        place = (leg.key.book, leg.key.asset)
        sums[place] = sums.get(place, 0) + leg.amount
    if any(sums.values()):
        raise InvalidRequest("the legs of each book and asset sum to zero")


def _refuse_closed(account: Account, leg: Leg, kind: TransactionType) -> None:
    if account.status == "closed":
        raise AccountClosed(f"{account.key.name} is closed")


def _refuse_frozen(account: Account, leg: Leg, kind: TransactionType) -> None:
    if account.status == "frozen" and not kind.passes_status:
        raise AccountFrozen(f"{account.key.name} is frozen")


def _refuse_suspended(account: Account, leg: Leg, kind: TransactionType) -> None:
    takes = leg.amount < 0 or leg.held_change > 0
    if account.status == "suspended" and takes and not kind.passes_status:
        raise AccountSuspended(f"{account.key.name} is suspended")


def _refuse_amount(change: Change) -> None:
    refusal = change.refusal
    if refusal is not None:
        # A new one: a change may be decided again, and whoever catches it may add to it.
        raise type(refusal)(refusal.detail, pointer=refusal.pointer, **refusal.extra)


def _passes_floor(change: Change) -> bool:
    intent = change.intent
    return change.type.passes_floor or (isinstance(intent, Reverse) and intent.forced)


def _refuse_overdraft(entry: Entry, pointer: str, catalog: Catalog) -> None:
    after, floor = entry.after, entry.after.floor
    if floor is None:
        return
    available_before = entry.before.balance - entry.before.held
    available = after.balance - after.held
    if available < floor and available < available_before:
        scale = catalog.asset(after.key.asset).scale
        raise InsufficientFunds(
            f"{after.key.name} does not have enough available funds",
            pointer=pointer,
            required=format_amount(available_before - available, scale),
            available=format_amount(available_before, scale),
        )


def _moved(
    account: Account, leg: Leg, change: Change, catalog: Catalog, transaction_id: str
) -> Entry:
    """The entry of one leg, with what its movement entails: totals, suspension, alert."""
    kind = change.type
    sign = catalog.book(account.key.book).stored_sign
    amount = check_range(sign * leg.amount)
    balance = check_range(account.balance + leg.amount)
    held = check_range(account.held + leg.held_change)
    total_in, total_out = _totals(account, amount, change)
    earned = _total_earned(account, amount, change)
    after = replace(
        account,
        balance=balance,
        held=held,
        total_in=check_range(total_in),
        total_out=check_range(total_out),
        total_earned=None if earned is None else check_range(earned),
    )
    available_before = sign * account.balance - account.held
    available = check_range(sign * balance - held)
    status = account.status
    if _crosses(account.suspend_below, available_before, available) and status == "active":
        status = "suspended"
    elif kind.lifts_suspension and status == "suspended":
        threshold = account.suspend_below
        if threshold is None or available >= threshold:
            status = "active"
    low = _crosses(account.alert_below, available_before, available)
    return _entry(
        account,
        replace(after, status=status),
        amount,
        leg.held_change,
        low,
        catalog,
        transaction_id,
    )


def _totals(account: Account, amount: int, change: Change) -> tuple[int, int]:
    """`total_in` and `total_out` after an `amount` (own sense); a reversal takes back."""
    intent = change.intent
    total_in, total_out = account.total_in, account.total_out
    if isinstance(intent, Reverse):
        if intent.undoes_totals:
            return total_in - max(-amount, 0), total_out - max(amount, 0)
    elif change.type.counts:
        return total_in + max(amount, 0), total_out + max(-amount, 0)
    return total_in, total_out


def _total_earned(account: Account, amount: int, change: Change) -> int | None:
    """`total_earned` after an `amount` (own sense), by the mark of the type or the reversed one."""
    intent = change.intent
    earns = intent.undoes_earned if isinstance(intent, Reverse) else change.type.earning
    return (account.total_earned or 0) + amount if earns else account.total_earned


def _crosses(threshold: int | None, before: int, after: int) -> bool:
    return threshold is not None and before >= threshold > after


def _entry(
    before: Account,
    after: Account,
    amount: int,
    held_change: int,
    low_balance: bool,
    catalog: Catalog,
    transaction_id: str,
) -> Entry:
    seq = before.seq + 1
    digest = entry_digest(
        before.digest,
        after.key.name,
        seq,
        amount,
        held_change,
        catalog.book(after.key.book).stored_sign * after.balance,
        after.held,
        transaction_id,
    )
    return Entry(before, replace(after, seq=seq, digest=digest), amount, held_change, low_balance)
