"""The forms of answers, for the OpenAPI document and for tests; answers themselves are spliced."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from ..ledger.catalog import Asset, Book
from ..ledger.intents import Mode
from ..ledger.invariants import Discrepancy
from ..ledger.objects import (
    Control,
    DatedBalance,
    Decimals,
    Epoch,
    Hold,
    Id,
    OptionTrade,
    Pair,
    Position,
    Price,
    Quoted,
    SpotTrade,
    Time,
    Told,
    Trade,
    Update,
)
from ..ledger.proof.records import Verification
from ..webhooks.registrations import Status

Day = Annotated[str, Meta(description="YYYY-MM-DD, included.")]


class SeenUpdate(Update, frozen=True, kw_only=True):
    """One user's view of one transaction; the last four to admins only."""

    internal: Any = UNSET
    actor: str | UnsetType = UNSET
    actor_role: str | UnsetType = UNSET
    idempotency_key: str | UnsetType | None = UNSET


class PostingView(Struct, kw_only=True):
    """One leg."""

    account: str
    amount: Decimals
    held_change: Decimals


class Transaction(Told, frozen=True, kw_only=True):
    """A whole transaction, for auditors."""

    postings: list[PostingView]
    reversed_by: str | None
    hold: Hold | UnsetType = UNSET
    trade: Trade | UnsetType = UNSET
    control: Control | UnsetType = UNSET
    internal: Any
    actor: str
    actor_role: str
    idempotency_key: str | None


class FieldError(Struct):
    """What is wrong with one field of the body."""

    pointer: str
    detail: str


class Problem(Struct, kw_only=True, omit_defaults=True):
    """A refusal (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    errors: list[FieldError] | None = None
    required: Decimals | None = None
    available: Decimals | None = None
    price: Quoted | None = None
    item: int | None = None


class Accepted(Struct, kw_only=True):
    """An accepted change, with the updates that the caller may see."""

    transaction_id: Id
    position: Position
    updates: list[SeenUpdate]


class AcceptedHold(Accepted, kw_only=True):
    """An accepted step of a hold, and the hold after it."""

    hold: Hold


class Holds(Struct):
    """Holds, newest first."""

    items: list[Hold]
    next_cursor: str | None


class AcceptedSpotOrder(Accepted, kw_only=True):
    """A filled spot order."""

    trade: SpotTrade


class SpotOrders(Struct):
    """Spot orders, newest first."""

    items: list[SpotTrade]
    next_cursor: str | None


class AcceptedOption(Accepted, kw_only=True):
    """An option after it was opened, or ended by hand."""

    trade: OptionTrade


class Options(Struct):
    """Options, newest first."""

    items: list[OptionTrade]
    next_cursor: str | None


class TradingControl(Struct, kw_only=True):
    """How a user's options end that are opened from now on."""

    user_id: str
    mode: Mode
    book: str


class BatchResult(Struct, kw_only=True):
    """One item's outcome: the members of an accepted change, or its problem."""

    status: int
    transaction_id: str | None = None
    position: int | None = None
    updates: list[SeenUpdate] | None = None
    problem: Problem | None = None


class BatchResults(Struct):
    """One result an item, in order."""

    results: list[BatchResult]


class Balances(Struct, kw_only=True):
    """A user's accounts as of one position."""

    user_id: str
    epoch: Epoch
    position: Position
    balances: list[DatedBalance]


class MovementView(Struct, kw_only=True):
    """What one type of change, in one category, moved: how many entries, and their sum."""

    change_type: str
    category: Annotated[str | None, Meta(description="`metadata.category`.")]
    count: int
    amount: Decimals


class AccountStatement(Struct, kw_only=True):
    """One account over the period: opening and movements add up to closing."""

    account: str
    opening: Decimals
    movements: list[MovementView]
    closing: Decimals


class Statement(Struct, kw_only=True, rename={"from_": "from"}):
    """A user's accounts in one book over some days, by name."""

    book: str
    from_: Day
    to: Day
    accounts: list[AccountStatement]


class History(Struct):
    """Updates, newest first."""

    items: list[SeenUpdate]
    next_cursor: str | None


class Transactions(Struct):
    """Transactions, newest first."""

    items: list[Transaction]
    next_cursor: str | None


class Assets(Struct):
    """Assets, by code."""

    items: list[Asset]
    next_cursor: str | None


class Books(Struct):
    """Books, by name."""

    items: list[Book]
    next_cursor: str | None


class Pairs(Struct):
    """Pairs, by name."""

    items: list[Pair]
    next_cursor: str | None


class Prices(Struct):
    """The newest prices, by pair."""

    items: list[Price]
    next_cursor: str | None


class AuditEntry(Struct, kw_only=True):
    """What an operator did."""

    id: int
    time: Time
    actor: str
    action: str
    target: str | None
    details: Any


class Audit(Struct):
    """Audit entries, newest first."""

    items: list[AuditEntry]
    next_cursor: str | None


class TrialBalanceRow(Struct, kw_only=True):
    """The sum of the accounts of one kind of owner, credit-positive."""

    book: str
    asset: str
    owner_kind: str
    balance: Decimals


class TrialBalance(Struct, kw_only=True):
    """The ledger's sums; each of `sums` is zero."""

    position: Position
    rows: list[TrialBalanceRow]
    sums: dict[str, Decimals]


class VerificationStarted(Struct):
    """A verification that goes on by itself."""

    id: Id


class Verifications(Struct):
    """Verifications, newest first, each report without its details."""

    items: list[Verification]
    next_cursor: str | None


class Discrepancies(Struct):
    """What a verification found, the largest difference first."""

    items: list[Discrepancy]
    next_cursor: str | None


class Ticket(Struct, kw_only=True):
    """Good for one connection."""

    ticket: str
    expires_at: Time


class Disconnected(Struct, kw_only=True):
    """Whose tokens were revoked: those issued up to that time."""

    user_id: str
    revoked_until: Time


class UserConnections(Struct):
    """A user who is on."""

    user_id: str
    connections: int


class Connections(Struct):
    """Who is on: how many users and connections there are, and a page of the users."""

    users: int
    connections: int
    items: list[UserConnections]
    next_cursor: str | None


class PauseState(Struct):
    """Whether changes are refused now."""

    paused: bool


class Webhook(Struct, kw_only=True):
    """A webhook, and how far its deliveries have come."""

    name: str
    url: str
    filter: dict[str, str]
    status: Status
    position: Annotated[int, Meta(description="The end of what was delivered.")]
    head: Position
    lag: Annotated[int, Meta(description="Positions up to the head that were not looked at yet.")]
    attempts: Annotated[int, Meta(description="How many failed in a row.")]
    failing_since: Time | None
    next_attempt_at: Time | None
    last_error: str | None
    last_delivered_at: Time | None
    secret: Annotated[
        str | UnsetType, Meta(description="Only where it was made by this very call.")
    ] = UNSET


class Webhooks(Struct):
    """Webhooks, by name."""

    items: list[Webhook]
    next_cursor: str | None


class Removed(Struct):
    """What is not there any more."""

    name: str


class Token(Struct):
    """A development token."""

    token: str


class Health(Struct):
    """The process runs."""

    status: Literal["ok"]


class Readiness(Struct):
    """Whether this process can serve."""

    status: Literal["ready", "degraded", "unavailable"]
    checks: dict[str, Any]


ANSWERS: tuple[type[Struct], ...] = (
    Accepted,
    AcceptedHold,
    AcceptedOption,
    AcceptedSpotOrder,
    Asset,
    Assets,
    Audit,
    Balances,
    BatchResults,
    Book,
    Books,
    Connections,
    Disconnected,
    Discrepancies,
    Health,
    History,
    Hold,
    Holds,
    Options,
    OptionTrade,
    Pair,
    Pairs,
    PauseState,
    Price,
    Prices,
    Problem,
    Readiness,
    Removed,
    Statement,
    Ticket,
    Token,
    TradingControl,
    Transaction,
    Transactions,
    TrialBalance,
    SeenUpdate,
    SpotOrders,
    SpotTrade,
    Verification,
    VerificationStarted,
    Verifications,
    Webhook,
    Webhooks,
)
