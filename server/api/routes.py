# ruff: noqa: E501 - one line a route, so that the table is read at a glance
"""The URL table: every call, whom it serves, what it takes and answers (contract, section 4)."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version

import msgspec
from msgspec import Struct
from starlette.responses import Response

from ..operations.accounts import AccountChange, AccountOpening, open_account
from ..operations.adjustments import Adjustment, adjustment
from ..operations.charges import Charge, Payment, Recharge, charge, payment, recharge
from ..operations.deposits import Deposit, deposit
from ..operations.holds import HoldConfirmation, HoldPlacing, HoldVoiding
from ..operations.options import OptionForcing, OptionOpening
from ..operations.reversals import Reversal
from ..operations.shared_charges import SharedCharge, shared_charge
from ..operations.spot import SpotOrder
from ..operations.trading_controls import TradingControlSetting
from ..operations.transfers import Transfer, transfer
from ..operations.withdrawals import Withdrawal, withdrawal
from . import (
    administration,
    catalog,
    development,
    holds,
    pages,
    prices,
    streams,
    trades,
    trading_controls,
    transactions,
    users,
    verifications,
    webhooks,
)
from .answers import answer
from .batches import create_batch
from .bodies import (
    LARGEST_BATCH_BODY,
    LARGEST_BODY,
    AssetSettings,
    Batch,
    BookSettings,
    PairSettings,
    PricePush,
    TokenRequest,
    VerificationRequest,
    WebhookSettings,
)
from .calls import (
    ADMIN,
    ANY,
    AUDITOR,
    OPEN,
    OWN,
    OWN_OR_ADMIN,
    OWN_OR_AUDITOR,
    SUPERADMIN,
    Call,
    Endpoint,
    Route,
    Who,
)
from .changes import patch_account, posting, reverse_transaction
from .openapi import document
from .queries import (
    BalancesQuery,
    DiscrepanciesQuery,
    HistoryQuery,
    HoldsQuery,
    NamesQuery,
    Page,
    StatementQuery,
    StreamQuery,
    TradesQuery,
    TrialBalanceQuery,
)


def _get(
    path: str, who: Who, endpoint: Endpoint, answer: str, takes: type[Struct] | None = None
) -> Route:
    return Route(method="GET", path=path, who=who, endpoint=endpoint, takes=takes, answer=answer)


def _change(
    method: str,
    path: str,
    who: Who,
    takes: type[Struct],
    endpoint: Endpoint,
    limit: int = LARGEST_BODY,
    answer: str = "Accepted",
) -> Route:
    return Route(
        method=method,
        path=path,
        who=who,
        endpoint=endpoint,
        takes=takes,
        status=201,
        answer=answer,
        keyed=True,
        limit=limit,
    )


async def openapi(call: Call) -> Response:
    """This description of the HTTP interface."""
    return answer(_encoded_document(call.services.settings.development))


async def asyncapi(call: Call) -> Response:
    """The description of the live interface: WebSocket and server-sent events."""
    return answer(call.services.describe_wire())


@cache
def _encoded_document(development_mode: bool) -> bytes:
    return msgspec.json.encode(document(routes_for(development_mode), version("tallywire")))


# fmt: off
ROUTES: tuple[Route, ...] = (
    _change("POST", "/v1/deposits", ADMIN, Deposit, posting(deposit)),
    _change("POST", "/v1/withdrawals", OWN_OR_ADMIN, Withdrawal, posting(withdrawal)),
    _change("POST", "/v1/adjustments", SUPERADMIN, Adjustment, posting(adjustment)),
    _change("POST", "/v1/transfers", OWN_OR_ADMIN, Transfer, posting(transfer)),
    _change("POST", "/v1/charges", ADMIN, Charge, posting(charge)),
    _change("POST", "/v1/recharges", ADMIN, Recharge, posting(recharge)),
    _change("POST", "/v1/payments", ADMIN, Payment, posting(payment)),
    _change("POST", "/v1/shared-charges", ADMIN, SharedCharge, posting(shared_charge), limit=LARGEST_BATCH_BODY),
    _change("POST", "/v1/holds", OWN_OR_ADMIN, HoldPlacing, holds.place_hold, answer="AcceptedHold"),
    _get("/v1/holds", ANY, holds.list_holds, "Holds", HoldsQuery),
    _get("/v1/holds/{id}", ANY, holds.read_hold, "Hold"),
    _change("POST", "/v1/holds/{id}/confirm", OWN_OR_ADMIN, HoldConfirmation, holds.confirm_hold, answer="AcceptedHold"),
    _change("POST", "/v1/holds/{id}/void", OWN_OR_ADMIN, HoldVoiding, holds.void_hold, answer="AcceptedHold"),
    _change("POST", "/v1/spot/orders", OWN, SpotOrder, trades.place_spot_order, answer="AcceptedSpotOrder"),
    _get("/v1/spot/orders", ANY, trades.list_spot_orders, "SpotOrders", TradesQuery),
    _get("/v1/spot/orders/{id}", ANY, trades.read_spot_order, "SpotTrade"),
    _change("POST", "/v1/options", OWN, OptionOpening, trades.open_option, answer="AcceptedOption"),
    _get("/v1/options", ANY, trades.list_options, "Options", TradesQuery),
    _get("/v1/options/{id}", ANY, trades.read_option, "OptionTrade"),
    _change("POST", "/v1/options/{id}/force", SUPERADMIN, OptionForcing, trades.force_option, answer="AcceptedOption"),
    _change("POST", "/v1/transactions/{id}/reversal", ADMIN, Reversal, reverse_transaction),
    Route(method="POST", path="/v1/batches", who=ADMIN, endpoint=create_batch, takes=Batch, answer="BatchResults", keyed=True, limit=LARGEST_BATCH_BODY),

    _get("/v1/users/{user}/balances", OWN_OR_AUDITOR, users.read_balances, "Balances", BalancesQuery),
    Route(method="GET", path="/v1/users/{user}/history", who=OWN_OR_AUDITOR, endpoint=users.list_history, takes=HistoryQuery, answer="History", csv=True),
    Route(method="GET", path="/v1/users/{user}/statements", who=OWN_OR_AUDITOR, endpoint=users.read_statement, takes=StatementQuery, answer="Statement", csv=True),
    _get("/v1/transactions/{id}", ANY, transactions.read_transaction, "TransactionOrUpdate"),
    _get("/v1/assets", ANY, catalog.list_assets, "Assets", NamesQuery),
    _get("/v1/books", ANY, catalog.list_books, "Books", NamesQuery),
    _get("/v1/pairs", ANY, catalog.list_pairs, "Pairs", NamesQuery),
    _get("/v1/prices", ANY, prices.list_prices, "Prices", NamesQuery),
    Route(method="PUT", path="/v1/prices/{pair}", who=SUPERADMIN, endpoint=prices.push_price, takes=PricePush, answer="Price"),
    Route(method="POST", path="/v1/stream-tickets", who=ANY, endpoint=administration.create_ticket, answer="Ticket"),
    Route(method="GET", path="/v1/stream", who=ANY, endpoint=streams.open_stream, takes=StreamQuery, answer="events", stream=True),

    Route(method="PUT", path="/v1/admin/assets/{code}", who=SUPERADMIN, endpoint=catalog.put_asset, takes=AssetSettings, answer="Asset"),
    Route(method="PUT", path="/v1/admin/books/{book}", who=SUPERADMIN, endpoint=catalog.put_book, takes=BookSettings, answer="Book"),
    Route(method="PUT", path="/v1/admin/pairs/{pair}", who=SUPERADMIN, endpoint=catalog.put_pair, takes=PairSettings, answer="Pair"),
    _change("POST", "/v1/admin/accounts", SUPERADMIN, AccountOpening, posting(open_account)),
    _change("PATCH", "/v1/admin/accounts/{book}/{owner}/{asset}", SUPERADMIN, AccountChange, patch_account),
    _get("/v1/admin/trading-controls/{user}", AUDITOR, trading_controls.read_control, "TradingControl"),
    Route(method="PUT", path="/v1/admin/trading-controls/{user}", who=SUPERADMIN, endpoint=trading_controls.put_control, takes=TradingControlSetting, answer="TradingControl", keyed=True),
    _get("/v1/admin/transactions", AUDITOR, transactions.list_transactions, "Transactions", Page),
    _get("/v1/admin/audit", AUDITOR, transactions.list_audit, "Audit", Page),
    Route(method="POST", path="/v1/admin/verifications", who=SUPERADMIN, endpoint=verifications.start_verification, takes=VerificationRequest, status=202, answer="VerificationStarted"),
    _get("/v1/admin/verifications", AUDITOR, verifications.list_verifications, "Verifications", Page),
    _get("/v1/admin/verifications/{id}", AUDITOR, verifications.read_verification, "Verification"),
    _get("/v1/admin/discrepancies", AUDITOR, verifications.list_discrepancies, "Discrepancies", DiscrepanciesQuery),
    _get("/v1/admin/trial-balance", AUDITOR, transactions.read_trial_balance, "TrialBalance", TrialBalanceQuery),
    Route(method="PUT", path="/v1/admin/webhooks/{name}", who=SUPERADMIN, endpoint=webhooks.put_webhook, takes=WebhookSettings, answer="Webhook"),
    _get("/v1/admin/webhooks", AUDITOR, webhooks.list_webhooks, "Webhooks", NamesQuery),
    _get("/v1/admin/webhooks/{name}", AUDITOR, webhooks.read_webhook, "Webhook"),
    Route(method="DELETE", path="/v1/admin/webhooks/{name}", who=SUPERADMIN, endpoint=webhooks.delete_webhook, answer="Removed"),
    _get("/v1/admin/connections", AUDITOR, administration.list_connections, "Connections", NamesQuery),
    Route(method="POST", path="/v1/admin/users/{user}/disconnect", who=SUPERADMIN, endpoint=administration.disconnect_user, answer="Disconnected"),
    _get("/v1/admin/pause", AUDITOR, administration.read_pause, "PauseState"),
    Route(method="POST", path="/v1/admin/pause", who=SUPERADMIN, endpoint=administration.pause, answer="PauseState"),
    Route(method="POST", path="/v1/admin/resume", who=SUPERADMIN, endpoint=administration.resume, answer="PauseState"),

    _get("/", OPEN, pages.index, "html"),
    _get("/healthz", OPEN, pages.healthz, "Health"),
    _get("/readyz", OPEN, pages.readyz, "Readiness"),
    _get("/metrics", OPEN, pages.show_metrics, "text"),
    _get("/openapi.json", OPEN, openapi, "object"),
    _get("/asyncapi.json", OPEN, asyncapi, "object"),
    _get("/docs", OPEN, pages.docs, "html"),
    _get("/static/{name}", OPEN, pages.static_file, "file"),
    _get("/static/{folder}/{name}", OPEN, pages.static_file, "file"),
    Route(method="POST", path="/dev/token", who=OPEN, endpoint=development.create_token, takes=TokenRequest, answer="Token", development=True),
)
# fmt: on


def routes_for(development_mode: bool) -> tuple[Route, ...]:
    """The routes that exist, in development mode or not."""
    return tuple(route for route in ROUTES if development_mode or not route.development)
