"""
Trading as an outsider knows it: what orders cost and options bring, computed anew from PAIR.

`new_market(outside)` makes a pair for a test alone; `Market` asks a running server about it, and
keeps every price that it pushed. `Recorded` are the prices that a ledger keeps, read from its
database.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from ..services.postgres import PostgresServer
from .client import Caller, Json, Screen, accepted, check_price, check_trade, minor, shown
from .conftest import Outside

QUOTE = "USDT"
QUOTE_SCALE = 6
BASE_SCALE = 8
PRICE_DECIMALS = 2
# What a test leaves open for an hour ends in no other test.
DURATIONS = [
    {"duration_s": 1, "payout_rate": "0.8000"},
    {"duration_s": 2, "payout_rate": "0.8500"},
    {"duration_s": 3600, "payout_rate": "0.9000"},
]
# Whoever waits for a settlement waits for the option's time, for the worker and for the bus.
SETTLED_WITHIN = 30.0


class Filled(NamedTuple):
    """What an order comes to, in minor units."""

    base: int
    quote: int
    fee: int


class Result(NamedTuple):
    """How an option ends: its status, its outcome, the price text that decided."""

    status: str
    outcome: str | None
    settle_price: str | None


def filled(
    side: str, price: int, fee_bps: int, *, base: int | None = None, quote: int | None = None
) -> Filled:
    """An order of so much base, or of at most so much quote, at `price`."""
    # quote = base x price: minor units of quote for one of base, as a fraction.
    worth, per = price * 10**QUOTE_SCALE, 10 ** (BASE_SCALE + PRICE_DECIMALS)
    if base is None:
        assert quote is not None
        base = quote * per // worth
    cost = -(-base * worth // per) if side == "buy" else base * worth // per
    return Filled(base, cost, -(-cost * fee_bps // 10_000))


def payout(stake: int, rate: str) -> int:
    """What a win pays besides the stake, in minor units."""
    return stake * minor(rate, 4) // 10_000


def outcome(direction: str, open_price: str, settle_price: str) -> str:
    """Who was right, by the two prices."""
    moved = minor(settle_price, PRICE_DECIMALS) - minor(open_price, PRICE_DECIMALS)
    if moved == 0:
        return "tie"
    return "win" if (moved > 0) == (direction == "up") else "lose"


def brought(trade: Json) -> int:
    """What an option that has ended brought its owner, in minor units of quote."""
    stake = minor(trade["stake"], QUOTE_SCALE)
    if trade["status"] == "refunded" or trade["outcome"] == "tie":
        return stake
    return stake + payout(stake, trade["payout_rate"]) if trade["outcome"] == "win" else 0


def select(database_url: str, postgres: PostgresServer | None, sql: str) -> list[list[str]]:
    """
    Rows of the database itself, as texts. postgres: the server of a PostgreSQL address, else None.
    """
    if postgres is None:
        with closing(sqlite3.connect(database_url.partition("///")[2])) as connection:
            return [list(map(str, row)) for row in connection.execute(sql)]
    # psql prints a row a line, its columns apart by bars.
    listed = postgres.execute(sql, urlsplit(database_url).path[1:])
    return [line.split("|") for line in listed.splitlines()]


class Recorded:
    """The prices that a ledger keeps, by pair, oldest first: (stamp, price in minor units)."""

    def __init__(self, rows: Iterable[Sequence[str | int]]) -> None:
        self._of: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for pair, price, stamp in rows:
            self._of[str(pair)].append((str(stamp), int(price)))

    @classmethod
    def read(cls, database_url: str, postgres: PostgresServer | None) -> Recorded:
        """postgres: the server of a PostgreSQL address."""
        sql = "SELECT pair, price, stamped_at FROM prices ORDER BY pair, stamped_at"
        return cls(select(database_url, postgres, sql))

    def at(self, pair: str, moment: str) -> tuple[str, int] | None:
        """The last that was stamped at or before `moment`."""
        before = [row for row in self._of[pair] if row[0] <= moment]
        return before[-1] if before else None

    def result(self, trade: Json, settlement_age_s: int) -> Result:
        """How an option must end that nobody forced."""
        opened = self.at(trade["pair"], trade["opens_at"])
        assert opened is not None and shown(opened[1], PRICE_DECIMALS) == trade["open_price"], (
            f"{trade} opened at another price than {opened}"
        )
        found = self.at(trade["pair"], trade["expires_at"])
        if found is None or seconds(found[0], trade["expires_at"]) > settlement_age_s:
            return Result("refunded", None, None)
        settle_price = shown(found[1], PRICE_DECIMALS)
        return Result(
            "settled", outcome(trade["direction"], trade["open_price"], settle_price), settle_price
        )


def seconds(earlier: str, later: str) -> float:
    """From one time to another."""
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def result(trade: Json) -> Result:
    """How an option has ended."""
    return Result(trade["status"], trade["outcome"], trade["settle_price"])


class Market:
    """One pair of a running server."""

    def __init__(self, outside: Outside, pair: Json) -> None:
        self.outside = outside
        self.pair = pair
        self.name: str = pair["pair"]
        self.base: str = pair["base"]
        self.pushed: list[Json] = []

    async def push(self, price: str) -> Json:
        """The price as it is from now on."""
        answer = await self.outside.root.put(f"/v1/prices/{self.name}", {"price": price})
        assert answer.status_code == 200, answer.text
        told: Json = answer.json()
        check_price(told)
        assert (told["pair"], told["price"], told["source"]) == (self.name, price, "pushed")
        self.pushed.append(told)
        return told

    async def order(
        self, caller: Caller, side: str, *, key: str | None = None, **rest: Any
    ) -> httpx.Response:
        """A spot order; rest: `base_amount` or `quote_amount`, and what else there may be."""
        return await caller.post("/v1/spot/orders", {"pair": self.name, "side": side, **rest}, key)

    async def option(
        self,
        caller: Caller,
        direction: str,
        stake: str,
        duration_s: int = 1,
        *,
        key: str | None = None,
        **rest: Any,
    ) -> httpx.Response:
        """An option is asked for."""
        body = {"pair": self.name, "direction": direction, "stake": stake, "duration_s": duration_s}
        return await caller.post("/v1/options", {**body, **rest}, key)

    async def trader(self, name: str, amount: str = "1000", *books: str) -> Caller:
        """A new user with so much quote in each of the books, by default in `main`."""
        user = self.outside.new_user(name)
        for book in books or ("main",):
            accepted(await self.outside.admin.deposit(user, amount, book=book))
        return self.outside.caller(user)

    def decided(self, trade: Json) -> Result:
        """How an option must end by the prices that were pushed here, all of them young enough."""
        rows = [(p["pair"], minor(p["price"], PRICE_DECIMALS), p["time"]) for p in self.pushed]
        return Recorded(rows).result(trade, self.pair["settlement_age_s"])


async def put_market(outside: Outside, name: str, **terms: Any) -> Market:
    """The pair of that name with these terms; what is not said of it stays as it is."""
    answer = await outside.root.put(f"/v1/admin/pairs/{name}", terms)
    assert answer.status_code == 200, answer.text
    return Market(outside, answer.json())


async def new_market(outside: Outside, **terms: Any) -> Market:
    """A pair of a new asset and QUOTE, whose options may last a second or two."""
    base = await outside.new_asset(BASE_SCALE)
    settings = {
        "price_decimals": PRICE_DECIMALS,
        "minimum": "0.00001000",
        "fee_bps": 10,
        "durations": DURATIONS,
        "maximum_stake": "1000",
        "exposure_limit": "100000",
        "stale_after_s": 3600,
        "settlement_age_s": 60,
    }
    return await put_market(outside, f"{base}-{QUOTE}", **settings | terms)


def opened(response: httpx.Response) -> Json:
    """The answer to an option that was taken: what was deducted is the stake."""
    body = accepted(response)
    trade: Json = body["trade"]
    assert (trade["kind"], trade["status"], trade["id"]) == (
        "option",
        "open",
        body["transaction_id"],
    )
    (update,) = body["updates"]
    check_trade(trade, update["user_id"])
    assert update["change_type"] == "option_opened" and update["trade"] == trade
    (change,) = update["changes"]
    assert change["account"].startswith(f"{trade['book']}/")
    assert minor(change["amount"], QUOTE_SCALE) == -minor(trade["stake"], QUOTE_SCALE)
    return body


async def ended(screen: Screen, *trades: str, within: float = SETTLED_WITHIN) -> list[Json]:
    """These options as they ended, once `screen` shows it."""
    await screen.until(
        lambda: all(
            screen.trades.get(trade, {}).get("status") not in (None, "open") for trade in trades
        ),
        within=within,
        what=f"the end of {len(trades)} options",
    )
    return [screen.trades[trade] for trade in trades]


def updates_of(updates: Iterable[Json], trade: str) -> list[Json]:
    """Those that tell of a trade, oldest first."""
    told = [update for update in updates if update.get("trade", {}).get("id") == trade]
    return sorted(told, key=lambda update: int(update["position"]))


def check_story(updates: Iterable[Json], trade: Json) -> None:
    """A trade was opened once and ended once, and what its owner was told of money adds up."""
    story = updates_of(updates, trade["id"])
    types = [update["change_type"] for update in story]
    if trade["kind"] == "spot":
        assert types == [f"spot_{trade['side']}"], types
        return
    assert types == ["option_opened", f"option_{trade['status']}"], f"{trade}: {types}"
    assert [update["user_id"] for update in story] == [trade["user_id"]] * 2
    assert story[0]["transaction_id"] == trade["id"] and story[1]["trade"] == trade
    moved = [minor(c["amount"], c["scale"]) for update in story for c in update["changes"]]
    stake, back = minor(trade["stake"], QUOTE_SCALE), brought(trade)
    assert moved == ([-stake, back] if back else [-stake]), f"{trade}: {moved}"


async def check_ledger(outside: Outside) -> None:
    """The books balance, and the ledger proves itself."""
    balance = (await outside.auditor.get("/v1/admin/trial-balance")).json()
    wrong = {book: total for book, total in balance["sums"].items() if Decimal(total)}
    assert not wrong, f"CONSERVATION: {wrong}"
    begun = await outside.root.post("/v1/admin/verifications", {})
    assert begun.status_code == 202, begun.text
    path = f"/v1/admin/verifications/{begun.json()['id']}"
    async with asyncio.timeout(60):
        while (found := (await outside.root.get(path)).json())["status"] == "running":
            await asyncio.sleep(0.02)
    assert (found["status"], found["report"]["errors"]) == ("done", 0), found


async def check_screens(outside: Outside, *screens: Screen) -> None:
    """SCREEN=LEDGER: each shows what the ledger has, once it has seen all of it."""
    for screen in screens:
        balances = await outside.admin.balances(screen.user_id)
        await screen.until(
            lambda screen=screen, balances=balances: screen.balances == balances,  # type: ignore[misc]
            what="the ledger's balances",
        )
