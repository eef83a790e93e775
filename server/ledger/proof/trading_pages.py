"""
What trading keeps besides the journal, read page by page and held against it: the rows of trades,
exposures and controls, and prices with their tickers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from sqlalchemy import TextClause

from ..accounts import AccountKey
from ..catalog import Catalog
from ..database import Database
from ..dialects import joined
from ..intents import RepairTrading
from ..invariants import Discrepancy
from ..report import Findings
from ..trading.trades import DEMO_BOOK
from .journal_pages import JournalPages
from .prices import PriceWalk, StoredPrice, StoredTicker, check_ticker
from .queries import Selection, rows
from .stored import told_of
from .trades import moments_of
from .trading_copies import (
    StoredControl,
    StoredTrade,
    TradeJournal,
    check_control,
    check_exposure,
    check_trade,
    never_opened,
    never_set,
    quote_account,
)
from .trading_queries import TradingStatements

ROWS_PER_PAGE = 500
PRICES_PER_PAGE = 5000

_FIRST = -(2**63)


class TradingRepairs(Protocol):
    """Makes what trading keeps say again what the journal and the prices say."""

    async def trading(self, wanted: RepairTrading, found: Sequence[Discrepancy]) -> bool:
        """Repair rows where this was found; whether that was accepted."""

    async def ticker(self, pair: str, read_at: str) -> None:
        """Make the pair's ticker its newest price, read at `read_at` or later."""


class Copy(NamedTuple):
    """A trade's row that is wrong: what the journal has of the trade, and what was found."""

    journal: TradeJournal
    found: list[Discrepancy]


class TradingPages:
    """The trading of one verification."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        journal: JournalPages,
        findings: Findings,
        repairs: TradingRepairs | None,
    ) -> None:
        """repairs: None where nothing is to be repaired."""
        self._database = database
        self._statements = TradingStatements(database.dialect)
        self._catalog = catalog
        self._journal = journal
        self._findings = findings
        self._repairs = repairs
        # Of each pair the latest moment that a trade was seen to have been made or ended at.
        self._traded_at: dict[str, str] = {}
        self._trades_left = False

    # Trades

    async def opened(self, trades: Iterable[tuple[str, AccountKey]]) -> None:
        """The rows of trades that were opened, each with an account that its opening touches."""
        accounts: dict[str, set[AccountKey]] = {}
        for id_, account in trades:
            accounts.setdefault(id_, set()).add(account)
        if not accounts:
            return
        wrong = await self._compare(accounts)
        left = wrong
        if wrong and self._repairs is not None:
            by_user: dict[str, list[Copy]] = {}
            for copy in wrong.values():
                if await self._may_repair(copy):
                    by_user.setdefault(str(copy.journal.told["user_id"]), []).append(copy)
            for user, copies in by_user.items():
                await self._repair_trades(self._repairs, user, copies)
            left = await self._compare({id_: accounts[id_] for id_ in wrong})
        self._trades_left = self._trades_left or bool(left)
        for id_, copy in wrong.items():
            fixed = id_ not in left
            self._findings.fixed += fixed
            self._findings.report(copy.found, fixed=fixed)

    async def _compare(self, accounts: Mapping[str, set[AccountKey]]) -> dict[str, Copy]:
        """Those of the trades whose rows are wrong; each is looked at from its quote account."""
        wrong: dict[str, Copy] = {}
        ids = self._statements.set([*accounts])
        for id_, opened_at, newest, encoded, *columns in await self._fetch(
            self._statements.trades, ids=ids
        ):
            told = told_of(encoded, "trade")
            quote = quote_account(told, self._catalog)
            if quote is not None and all(key.asset != quote.asset for key in accounts[id_]):
                continue
            for pair, moment in moments_of(told):
                self._traded_at[pair] = max(moment, self._traded_at.get(pair, ""))
            account = quote or min(accounts[id_])
            journal = TradeJournal(id_, opened_at, newest, told)
            row = StoredTrade._make(columns)
            if found := list(check_trade(account, row, journal, self._catalog)):
                wrong[id_] = Copy(journal, found)
        return wrong

    async def _may_repair(self, copy: Copy) -> bool:
        if quote_account(copy.journal.told, self._catalog) is None:
            return False
        return await self._journal.is_sound(copy.journal.id, copy.journal.newest)

    async def _repair_trades(
        self, repairs: TradingRepairs, user: str, copies: Sequence[Copy]
    ) -> None:
        ids = tuple(copy.journal.id for copy in copies)
        places = {(copy.journal.told["book"], copy.journal.told["pair"]) for copy in copies}
        found = [each for copy in copies for each in copy.found]
        await repairs.trading(RepairTrading(user, ids, tuple(sorted(places))), found)

    async def _loose_trades(self, user: str | None, book: str | None) -> None:
        """Rows of trades that nothing opened."""
        statement = self._statements.rows if user is None else self._statements.rows_of
        parameters = {} if user is None else {"user_id": user}
        ((last,),) = await self._fetch(self._statements.last_row)
        cursor = {"position": _FIRST, "id": ""}
        while page := await self._fetch(
            statement, **parameters, **cursor, last=last, limit=ROWS_PER_PAGE
        ):
            for id_, _, owner, in_book, pair, opening in page:
                if opening is None and book in (None, in_book):
                    wanted = RepairTrading(None, (id_,), ((in_book, pair),))
                    await self._settle(wanted, [never_opened(id_, owner, in_book)], id_)
            cursor = {"position": page[-1][1], "id": page[-1][0]}

    # The rest

    async def walk(self, selection: Selection, *, prices: bool) -> None:
        """
        What no account's entries lead to: loose rows, exposures, controls and tickers, of the users
        or the book selected; `prices`: and all prices.
        """
        users, book = selection.users, selection.book
        for user in [None] if users is None else sorted(users):
            await self._loose_trades(user, book)
        if book in (None, DEMO_BOOK):
            await self._controls(None if users is None else [*users])
        if users is None:
            await self._exposures(book)
        if selection.whole:
            if prices:
                await self._prices()
            await self._tickers()

    async def _exposures(self, only: str | None) -> None:
        for book, pair, amount, high, low in await self._fetch(self._statements.exposures):
            if only not in (None, book):
                continue
            found = list(check_exposure(book, pair, amount, joined(high, low), self._catalog))
            if found:
                await self._settle(RepairTrading(None, (), ((book, pair),)), found, None)

    async def _controls(self, users: Sequence[str] | None) -> None:
        if users is not None:
            await self._controls_of(users)
        else:
            cursor = ("", _FIRST)
            while page := await self._fetch(
                self._statements.subjects,
                subject=cursor[0],
                position=cursor[1],
                head=self._journal.head,
                limit=ROWS_PER_PAGE,
            ):
                await self._controls_of(sorted({row[0] for row in page if row[2]}))
                cursor = (page[-1][0], page[-1][1])
        after = ("", "")
        while page := await self._fetch(
            self._statements.loose_controls,
            user_id=after[0],
            book=after[1],
            limit=ROWS_PER_PAGE,
        ):
            for user, book, mode in page:
                if users is None or user in users:
                    wanted = RepairTrading(user, control=True)
                    await self._settle(wanted, [never_set(user, book, mode)], user)
            after = (page[-1][0], page[-1][1])

    async def _controls_of(self, users: Sequence[str]) -> None:
        if not users:
            return
        found = await self._fetch(self._statements.controls, users=self._statements.set([*users]))
        for user, position, encoded, *columns in found:
            wrong = list(check_control(user, StoredControl._make(columns), position, encoded))
            if wrong:
                await self._settle(RepairTrading(user, control=True), wrong, user, position)

    async def _prices(self) -> None:
        walk = PriceWalk(self._catalog)
        cursor = ("", _FIRST)
        while page := [
            StoredPrice._make(row)
            for row in await self._fetch(
                self._statements.prices,
                pair=cursor[0],
                number=cursor[1],
                limit=PRICES_PER_PAGE,
            )
        ]:
            for price in page:
                self._findings.report(walk.price(price))
            cursor = (page[-1].pair, page[-1].number)

    async def _tickers(self) -> None:
        wrong = await self._wrong_tickers()
        if not wrong:
            return
        left = wrong
        if self._repairs is not None:
            for pair in wrong:
                await self._repairs.ticker(pair, self._traded_at.get(pair, ""))
            left = await self._wrong_tickers()
        for pair, found in wrong.items():
            fixed = pair not in left
            self._findings.fixed += fixed
            self._findings.report(found, fixed=fixed)

    async def _wrong_tickers(self) -> dict[str, list[Discrepancy]]:
        wrong = {}
        width = len(StoredTicker._fields)
        for pair, *columns in await self._fetch(self._statements.tickers):
            ticker, newest = StoredTicker._make(columns[:width]), columns[width:]
            price = None if newest[0] is None else StoredPrice._make(newest)
            traded_at = self._traded_at.get(pair, "")
            if found := list(check_ticker(pair, ticker, price, traded_at)):
                wrong[pair] = found
        return wrong

    # Repairs

    async def _settle(
        self, wanted: RepairTrading, found: list[Discrepancy], name: str | None, newest: int = 0
    ) -> None:
        """
        Report what was found, after its repair where that may be: where no fault of the journal can
        have to do with what goes by `name`, or (None) the rows of all trades are right.
        """
        fixed = False
        if self._repairs is not None and (
            not self._trades_left if name is None else await self._journal.is_sound(name, newest)
        ):
            fixed = await self._repairs.trading(wanted, found)
        self._findings.fixed += fixed
        self._findings.report(found, fixed=fixed)

    async def _fetch(self, statement: TextClause, **parameters: Any) -> Sequence[Any]:
        async with self._database.read(any_text=True) as connection:
            return await rows(connection, statement, **parameters)
