"""The door to trading for programs: spot orders, options and their settlement, trading control."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, Unpack

from ... import logs
from ..accounts import check_user_id
from ..catalog import Catalog
from ..changes import Amount, Change, Details, IdempotencyKey, refused
from ..clock import Clock, parse_rfc3339, rfc3339
from ..errors import Conflict, LedgerError, NotFound, OutcomeUnknown, Overloaded
from ..intents import Direction, Mode, Outcome, TradeSide
from ..options import RecordOptions, details_of
from ..receipts import Receipt
from ..transaction_types import TransactionTypes
from . import controls, options, spot
from .reading import TradeReader, TradeRow
from .trade_rows import trade_from
from .trades import DEMO_BOOK, Expired, Kind, Option, Trade

_log = logs.get_logger(__name__)

Made = TypeVar("Made")

# Whoever settles an option has the same key, which no request can have.
SETTLEMENT = "settlement"
EXPIRED_AT_ONCE = 200


class Ledger(Protocol):
    """Who commits what trading asks for."""

    @property
    def types(self) -> TransactionTypes:
        """The registered types."""

    async def prepare(self, build: Callable[[Catalog], Made]) -> Made:
        """What `build` makes of the catalog."""

    async def post(self, change: Change) -> Receipt:
        """Commit one change; raises the LedgerError that refused it."""

    async def post_many(self, prepared: Sequence[Change]) -> Sequence[Receipt | LedgerError]:
        """Commit changes, each its own transaction: an outcome each, in order."""


class Trading:
    """
    Trades of an open ledger. Amounts are Decimals or decimal strings; every method that changes
    something returns a Receipt whose `trade` tells the trade, or raises the LedgerError that
    refused it, and then nothing changed.
    """

    def __init__(
        self, ledger: Ledger, reader: TradeReader, clock: Clock, default_book: str
    ) -> None:
        self._ledger = ledger
        self._reader = reader
        self._clock = clock
        self._default_book = default_book
        self._unsettled: set[str] = set()

    async def spot_order(
        self,
        user_id: str,
        pair: str,
        side: TradeSide,
        *,
        base_amount: Amount | None = None,
        quote_amount: Amount | None = None,
        limit_price: Amount | None = None,
        client_order_id: str | None = None,
        book: str | None = None,
        description: str = "",
        metadata: Mapping[str, Any] | None = None,
        **record: Unpack[RecordOptions],
    ) -> Receipt:
        """
        Buy or sell at the newest price. See `spot.spot_order`. Raises StalePrice, LimitNotMet and
        what any change may raise; Conflict where the client_order_id was used.
        """
        kind = self._ledger.types[f"spot_{'sell' if side == 'sell' else 'buy'}"]
        return await self._post(
            lambda c: spot.spot_order(
                c,
                kind,
                user_id,
                pair,
                side,
                base_amount=base_amount,
                quote_amount=quote_amount,
                limit_price=limit_price,
                client_order_id=client_order_id,
                book=book or self._default_book,
                details=details_of(description, metadata, record),
            )
        )

    async def open_option(
        self,
        user_id: str,
        pair: str,
        direction: Direction,
        stake: Amount,
        duration_s: int,
        *,
        client_order_id: str | None = None,
        book: str | None = None,
        description: str = "",
        metadata: Mapping[str, Any] | None = None,
        **record: Unpack[RecordOptions],
    ) -> Receipt:
        """
        Stake on where a price goes. See `options.open_option`. Raises StalePrice, ExposureLimit
        and what any change may raise; Conflict where the client_order_id was used.
        """
        kind = self._ledger.types["option_opened"]
        return await self._post(
            lambda c: options.open_option(
                c,
                kind,
                user_id,
                pair,
                direction,
                stake,
                duration_s,
                client_order_id=client_order_id,
                book=book or self._default_book,
                details=details_of(description, metadata, record),
            )
        )

    async def force(
        self,
        option_id: str,
        outcome: Outcome,
        description: str = "",
        metadata: Mapping[str, Any] | None = None,
        **record: Unpack[RecordOptions],
    ) -> Receipt:
        """
        End an open option of the demo book now, with ``win``, ``lose`` or ``tie``. Raises NotFound,
        DemoOnly; Conflict where it has ended.
        """
        option = await self.read_option(option_id)
        kind = self._ledger.types["option_settled"]
        details = details_of(description, metadata, record)
        return await self._post(
            lambda c: options.force_option(c, kind, option, outcome, details=details)
        )

    async def set_control(
        self,
        user_id: str,
        mode: Mode,
        *,
        book: str = DEMO_BOOK,
        description: str = "",
        metadata: Mapping[str, Any] | None = None,
        **record: Unpack[RecordOptions],
    ) -> Receipt:
        """
        Decide how the options end that the user opens in the demo book from now on: they ``win``,
        ``lose``, or end as they end (``normal``). Raises DemoOnly where `book` is another one.
        """
        kind = self._ledger.types["trading_control"]
        details = details_of(description, metadata, record)
        return await self._post(
            lambda c: controls.set_control(c, kind, user_id, mode, book=book, details=details)
        )

    async def settle_due(self) -> int:
        """
        Settle the options that have expired, each once whoever else does it too; how many this call
        settled. Safe to repeat.
        """
        settled, after = 0, ("", "")
        unsettled: set[str] = set()
        # In order of expiry: those that are refused now are not in the others' way.
        while found := await self._expired(after):
            outcomes = await self._ledger.post_many([await self._settlement(o) for o in found])
            settled += sum(isinstance(o, Receipt) and not o.replayed for o in outcomes)
            unsettled |= self._report(found, outcomes)
            if any(isinstance(outcome, (Overloaded, OutcomeUnknown)) for outcome in outcomes):
                break
            after = (found[-1].expires_at, found[-1].id)
        self._unsettled = unsettled
        return settled

    async def overdue_seconds(self) -> float:
        """How long ago the first expired of the options that are still open; 0 where none has."""
        first = await self._reader.first_expiry()
        if first is None:
            return 0.0
        return max(0.0, (self._clock.now() - parse_rfc3339(first)).total_seconds())

    def _report(
        self, expired: Sequence[Expired], outcomes: Sequence[Receipt | LedgerError]
    ) -> set[str]:
        """
        The ids of what cannot be settled, each logged unless it was so the last time; a Conflict
        means that another did, or will soon.
        """
        unsettled: set[str] = set()
        for option, outcome in zip(expired, outcomes, strict=True):
            if not isinstance(outcome, (Receipt, Conflict)):
                unsettled.add(option.id)
                if option.id not in self._unsettled:
                    _log.warning("an option is not settled", id=option.id, reason=str(outcome))
        return unsettled

    async def read_trade(self, trade_id: str) -> Trade:
        """The trade `trade_id` as it stands; raises NotFound."""
        row = await self._reader.trade(trade_id)
        if row is None:
            raise NotFound("there is no such trade")
        (trade,) = await self._read([row])
        return trade

    async def read_option(self, option_id: str) -> Option:
        """The option `option_id` as it stands; raises NotFound."""
        trade = await self.read_trade(option_id)
        if not isinstance(trade, Option):
            raise NotFound("there is no such option")
        return trade

    async def trades(
        self,
        *,
        kind: Kind | None = None,
        user_id: str | None = None,
        status: str | None = None,
        book: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[Trade]:
        """
        At most `limit` trades, newest first, opened below position `before`; only those of that
        kind, user, status and book where given.
        """
        rows = await self._reader.trades(
            kind=kind,
            user_id=user_id,
            status=status,
            book=book,
            before=before,
            limit=limit,
        )
        return await self._read(rows)

    async def control(self, user_id: str, book: str = DEMO_BOOK) -> Mode:
        """How the options end that the user opens in `book` from now on."""
        return await self._reader.control(check_user_id(user_id), book)

    async def _post(self, build: Callable[[Catalog], Change]) -> Receipt:
        return await self._ledger.post(await self._ledger.prepare(build))

    async def _expired(self, after: tuple[str, str]) -> list[Expired]:
        return await self._reader.expired(rfc3339(self._clock.now()), after, EXPIRED_AT_ONCE)

    async def _read(self, rows: Sequence[TradeRow]) -> list[Trade]:
        return await self._ledger.prepare(lambda c: [trade_from(row, c) for row in rows])

    async def _settlement(self, option: Expired) -> Change:
        kind = self._ledger.types["option_settled"]
        details = Details(key=IdempotencyKey(SETTLEMENT, "system", option.id))
        try:
            return await self._ledger.prepare(
                lambda c: options.settle_option(c, kind, option, details=details)
            )
        except LedgerError as refusal:
            # A row that was changed by hand is not in the others' way.
            return refused(refusal)
