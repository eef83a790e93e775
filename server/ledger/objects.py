"""The contract's objects (section 3), as every answer, message and stored update has them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from .holds import Status as HoldStatus
from .intents import Direction, Mode, Outcome, TradeSide
from .trading.prices import PriceSource
from .transaction_types import Side

AccountStatus = Literal["active", "suspended", "frozen", "closed"]
Time = Annotated[str, Meta(description="RFC 3339, UTC, microseconds.")]
Decimals = Annotated[str, Meta(description="Exactly the asset's decimals.")]
Id = Annotated[str, Meta(extra_json_schema={"format": "uuid"})]
Epoch = Annotated[str, Meta(description="The id of this journal.")]
Position = Annotated[int, Meta(ge=0, description="A number in the journal.")]
Quoted = Annotated[
    str, Meta(description="In the quote asset for one of the base, the pair's `price_decimals`.")
]
Digest = Annotated[str, Meta(description="Of the account's entries up to this one, SHA-256.")]


class DatedBalance(Struct, frozen=True, kw_only=True, gc=False):
    """One account; by effective date, what follows the order of booking is null."""

    account: Annotated[str, Meta(description="`book/owner/asset`, the owner percent-encoded.")]
    book: str
    asset: str
    scale: Annotated[int, Meta(description="How many decimals the asset has.")]
    side: Side
    balance: Decimals
    held: Decimals | None
    available: Annotated[
        Decimals | None, Meta(description="`balance - held`; null on debit books.")
    ]
    floor: Annotated[Decimals | None, Meta(description="Null: no limit.")]
    suspend_below: Decimals | None
    alert_below: Decimals | None
    status: AccountStatus | None
    seq: Annotated[int, Meta(description="The number of the account's last entry.")] | None
    digest: Digest | None
    total_in: Decimals
    total_out: Decimals
    total_earned: Annotated[
        Decimals | UnsetType, Meta(description="Absent until something is earned.")
    ] = UNSET


class Balance(DatedBalance, frozen=True, kw_only=True, gc=False):
    """One account as its last entry left it."""

    held: Decimals
    status: AccountStatus
    seq: Annotated[int, Meta(description="The number of the account's last entry.")]
    digest: Digest


class AccountEntry(Balance, frozen=True, kw_only=True, gc=False):
    """One account after a change, and the change, in the account's own sense."""

    amount: Decimals
    held_change: Decimals
    balance_before: Decimals
    alert: Annotated[
        Literal["low_balance"] | UnsetType,
        Meta(description="On the entry that crosses `alert_below`."),
    ] = UNSET


class Total(Struct, frozen=True, kw_only=True, gc=False):
    """What all users have in one book and asset."""

    book: str
    asset: str
    balance: Decimals
    held: Decimals


class Hold(Struct, frozen=True, kw_only=True, gc=False):
    """Funds reserved; `placed_by` is told to admins, and to who placed it."""

    id: Id
    user_id: str
    account: str
    amount: Decimals
    remaining: Decimals
    status: HoldStatus
    placed_by: str | None
    expires_at: Time | None
    reference: str | None


class OptionDuration(Struct, frozen=True, kw_only=True, gc=False):
    """How long an option may run, and what a win then pays besides the stake."""

    duration_s: int
    payout_rate: Annotated[str, Meta(description="Of the stake, four decimals.")]


class Pair(Struct, frozen=True, kw_only=True, gc=False):
    """What is traded against what, and by which rules."""

    pair: Annotated[str, Meta(description="`BASE-QUOTE`.")]
    base: str
    quote: str
    price_decimals: Annotated[int, Meta(description="How many its prices have.")]
    minimum: Annotated[Decimals, Meta(description="The least of base in a spot order.")]
    fee_bps: Annotated[int, Meta(description="Of a spot order's quote, in 1/10000.")]
    durations: list[OptionDuration]
    maximum_stake: Annotated[Decimals, Meta(description="Of an option, in quote.")]
    exposure_limit: Annotated[
        Decimals,
        Meta(description="What all open options of a book may pay besides stakes, in quote."),
    ]
    stale_after_s: Annotated[int, Meta(description="A price that is older refuses trades.")]
    settlement_age_s: Annotated[
        int, Meta(description="How old the price of an option's expiry may be.")
    ]


class Price(Struct, frozen=True, kw_only=True, gc=False):
    """What one unit of a pair's base is worth in its quote; `time`: when it was stamped."""

    pair: str
    price: Quoted
    source: PriceSource
    time: Time


class _Trade(Struct, frozen=True, kw_only=True, tag_field="kind"):
    id: Annotated[Id, Meta(description="That of the transaction that opened or filled it.")]
    user_id: str
    book: str
    pair: str
    price_source: PriceSource
    client_order_id: str | None


class SpotTrade(_Trade, frozen=True, kw_only=True, tag="spot"):
    """Base bought or sold for quote at once; the fee is in quote and not in `quote_amount`."""

    status: Literal["filled"]
    side: TradeSide
    price: Quoted
    base_amount: Decimals
    quote_amount: Decimals
    fee: Decimals
    filled_at: Time


class OptionTrade(_Trade, frozen=True, kw_only=True, tag="option"):
    """A stake on where the price will be at `expires_at`; all amounts are in quote."""

    status: Literal["open", "settled", "refunded"]
    direction: Direction
    stake: Decimals
    duration_s: int
    payout_rate: Annotated[str, Meta(description="Of the stake, four decimals.")]
    payout: Annotated[Decimals, Meta(description="What a win pays besides the stake.")]
    opens_at: Time
    expires_at: Time
    settlement_age_s: Annotated[
        int, Meta(description="The oldest that the price of `expires_at` may be.")
    ]
    open_price: Quoted
    settle_price: Annotated[
        Quoted | None, Meta(description="The price of `expires_at`; null until it is settled.")
    ]
    settle_source: Annotated[
        PriceSource | None,
        Meta(description="Where `settle_price` is from; `price_source`: the `open_price`."),
    ]
    outcome: Outcome | None
    forced: Annotated[
        bool, Meta(description="Whether its outcome does not go by the price; in `demo` alone.")
    ]
    control: Annotated[
        Literal["win", "lose"] | UnsetType,
        Meta(description="The trading control that it was opened under; absent: none."),
    ] = UNSET
    settled_at: Time | None
    reason: Annotated[str | None, Meta(description="Why it was refunded without a price.")]


Trade = SpotTrade | OptionTrade


class Control(Struct, frozen=True, kw_only=True):
    """How the outcome of a user's options in one book is decided: `normal` by the price."""

    mode: Mode
    book: str


class Told(Struct, frozen=True, kw_only=True):
    """What is told of a transaction to everybody who sees it."""

    epoch: Epoch
    position: Position
    transaction_id: Id
    change_type: str
    description: str
    reference: str | None
    metadata: dict[str, Any]
    reverses: Annotated[
        str | None, Meta(description="The id of the transaction that this one undoes.")
    ]
    effective_at: Time
    timestamp: Time


class Update(Told, frozen=True, kw_only=True):
    """One user's view of one transaction; `user_id` is null where no user is touched."""

    user_id: str | None
    changes: list[AccountEntry]
    hold: Hold | UnsetType = UNSET
    trade: Trade | UnsetType = UNSET
    control: Annotated[Control | UnsetType, Meta(description="On a `trading_control`.")] = UNSET


class AdminUpdate(Update, frozen=True, kw_only=True):
    """One user's view of one transaction, with what only admins see."""

    internal: Any
    actor: str
    actor_role: str
    idempotency_key: str | None
