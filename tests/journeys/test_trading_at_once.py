"""Fifty users at once with all that there is to do: CONSERVATION and SCREEN=LEDGER at the end."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import httpx
import pytest

from ..services.postgres import PostgresServer
from .client import Caller, Json, Screen, accepted, minor, refused, shown, update_of
from .conftest import Outside
from .trading import (
    Market,
    Recorded,
    check_ledger,
    check_screens,
    check_story,
    ended,
    new_market,
    result,
    select,
)

USERS = 50
MODES = ("win", "normal", "lose")


class Crowd:
    """The users, what they do, and what was accepted of it."""

    def __init__(self, outside: Outside, market: Market) -> None:
        self.outside = outside
        self.market = market
        self.users = [outside.new_user("one-of-many") for _ in range(USERS)]
        self.callers = {user: outside.caller(user) for user in self.users}
        self.screens: dict[str, Screen] = {}
        self.accepted: list[int] = []
        self.options: dict[str, list[str]] = defaultdict(list)

    async def fund(self) -> None:
        """Some of everything, for everybody, in one commit."""
        assets = (("USDT", "100", "main"), ("USDT", "100", "demo"), (self.market.base, "1", "main"))
        items = [
            {
                "operation": "deposit",
                "user_id": user,
                "asset": asset,
                "amount": amount,
                "book": book,
            }
            for user in self.users
            for asset, amount, book in assets
        ]
        answer = await self.outside.admin.batch(items, atomic=True)
        assert answer.status_code == 200, answer.text
        self.accepted += [each["position"] for each in answer.json()["results"]]

    async def live(self, user: str, rounds: int) -> None:
        """So many things, one after another, by or about one user."""
        dice = random.Random(user)
        doings: list[Callable[[random.Random, Caller], Awaitable[None]]] = [
            self._deposit,
            self._transfer,
            self._hold,
            self._spot,
            self._spot,
            self._option,
            self._option,
            self._control,
            self._go_and_come,
        ]
        for _ in range(rounds):
            await dice.choice(doings)(dice, self.callers[user])

    async def _deposit(self, dice: random.Random, caller: Caller) -> None:
        book = dice.choice(["main", "demo"])
        amount = f"{dice.randrange(1, 9)}.{dice.randrange(10**6):06}"
        self._done(await self.outside.root.deposit(caller.user_id, amount, book=book))

    async def _transfer(self, dice: random.Random, caller: Caller) -> None:
        other = dice.choice([user for user in self.users if user != caller.user_id])
        asset, amount = dice.choice([("USDT", "7.654321"), (self.market.base, "0.0123")])
        self._done(await caller.transfer("me", other, amount, asset))

    async def _hold(self, dice: random.Random, caller: Caller) -> None:
        body = {"user_id": "me", "asset": "USDT", "amount": "11.111111"}
        placed = self._done(await caller.post("/v1/holds", body))
        if placed is not None:
            ends = [("void", {}), ("confirm", {"amount": "3", "release_remainder": True})]
            step, how = dice.choice(ends)
            self._done(await caller.post(f"/v1/holds/{placed['hold']['id']}/{step}", how))

    async def _spot(self, dice: random.Random, caller: Caller) -> None:
        amount = dice.choice(
            [
                {"base_amount": f"0.{dice.randrange(10**4, 10**7):08}"},
                {"quote_amount": f"{dice.randrange(1, 20)}.{dice.randrange(10**6):06}"},
            ]
        )
        self._done(await self.market.order(caller, dice.choice(["buy", "sell"]), **amount))

    async def _option(self, dice: random.Random, caller: Caller) -> None:
        stake = f"{dice.randrange(1, 9)}.{dice.randrange(10**6):06}"
        direction, book = dice.choice(["up", "down"]), dice.choice(["main", "demo"])
        done = self._done(
            await self.market.option(caller, direction, stake, dice.choice([1, 2]), book=book)
        )
        if done is not None:
            self.options[caller.user_id].append(done["transaction_id"])

    async def _control(self, dice: random.Random, caller: Caller) -> None:
        path = f"/v1/admin/trading-controls/{caller.user_id}"
        answer = await self.outside.root.put(path, {"mode": dice.choice(MODES)})
        assert answer.status_code == 200, answer.text

    async def _go_and_come(self, dice: random.Random, caller: Caller) -> None:
        screen = self.screens[caller.user_id]
        if dice.random() < 0.5:
            await screen.leave()
        else:
            screen.vanish()
        await self._deposit(dice, caller)
        await screen.come_back()
        assert screen.resumed is not None

    def _done(self, answer: httpx.Response) -> Json | None:
        if answer.status_code != 201:
            refused(answer, 422, "insufficient_funds")
            return None
        body = accepted(answer)
        self.accepted.append(body["position"])
        return body


async def _move_prices(market: Market) -> None:
    dice = random.Random(7)
    price = 10_000
    while True:
        price = max(1, price + dice.randrange(-3, 4))
        await market.push(shown(price, 2))
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("rounds", [8, pytest.param(80, marks=pytest.mark.long)])
@pytest.mark.timeout(400)
async def test_fifty_users_at_once(
    exchange: Outside, request: pytest.FixtureRequest, rounds: int
) -> None:
    crowd = Crowd(exchange, await new_market(exchange))
    await crowd.market.push("100.00")
    await crowd.fund()
    start = await exchange.admin.head()
    async with AsyncExitStack() as stack:
        monitor = await stack.enter_async_context(exchange.monitor())
        for user in crowd.users:
            crowd.screens[user] = await stack.enter_async_context(exchange.screen(user))
        moving = asyncio.create_task(_move_prices(crowd.market))
        await asyncio.gather(*(crowd.live(user, rounds) for user in crowd.users))
        for user, taken in crowd.options.items():
            await ended(crowd.screens[user], *taken)
        moving.cancel()
        with suppress(asyncio.CancelledError):
            await moving

        head = await exchange.admin.head()
        await monitor.until_position(head)
        await check_screens(exchange, *crowd.screens.values())
        positions = {update["position"] for update in monitor.monitored}
        assert positions == set(range(start + 1, head + 1)), "not every position, or one twice"
        assert positions >= {position for position in crowd.accepted if position > start}
        _check_users(crowd, monitor)
        url = exchange.server.database_url
        postgres: PostgresServer | None = (
            None if url.startswith("sqlite") else request.getfixturevalue("postgres_server")
        )
        _check_options(crowd, monitor, Recorded.read(url, postgres))
        await _check_sums(
            crowd, select(url, postgres, "SELECT name, balance, held, seq, digest FROM accounts")
        )
    await check_ledger(exchange)


def _check_users(crowd: Crowd, monitor: Screen) -> None:
    """What each user was shown, the monitor was shown; what each is controlled by, they know."""
    by_user: dict[str, list[Json]] = defaultdict(list)
    controls: dict[str, Json] = {}
    for update in monitor.monitored:
        if update["change_type"] == "trading_control":
            controls[update["user_id"]] = update["control"]
        else:
            by_user[update["user_id"]].append(update_of(update))
    for user, screen in crowd.screens.items():
        assert screen.updates == by_user[user]
        told = screen.control and {field: screen.control[field] for field in ("mode", "book")}
        assert told == controls.get(user)


def _check_options(crowd: Crowd, monitor: Screen, recorded: Recorded) -> None:
    """Each ended once: by the price, or in demo by the control that was in force as it opened."""
    controls: dict[str, str] = {}
    forced: dict[str, str] = {}
    for update in monitor.monitored:
        if update["change_type"] == "trading_control":
            controls[update["user_id"]] = update["control"]["mode"]
        elif update["change_type"] == "option_opened" and update["trade"]["book"] == "demo":
            forced[update["trade"]["id"]] = controls.get(update["user_id"], "normal")
    counted: Counter[str] = Counter()
    for user, taken in crowd.options.items():
        for trade in map(crowd.screens[user].trades.get, taken):
            assert trade is not None
            check_story(monitor.monitored, trade)
            mode = forced.get(trade["id"], "normal")
            by_price = recorded.result(trade, 60)
            assert trade["forced"] == (mode != "normal"), trade
            expected = by_price if mode == "normal" else by_price._replace(outcome=mode)
            assert result(trade) == expected, f"{trade} with {mode}"
            counted[f"{trade['book']} {mode}"] += 1
    assert counted["main normal"] and sum(counted.values()) > counted["main normal"], counted


async def _check_sums(crowd: Crowd, rows: list[list[str]]) -> None:
    """The accounts as they are stored are those of the screens, and all postings sum to them."""
    stored = {name: values for name, *values in rows}
    for screen in crowd.screens.values():
        for account, balance in screen.balances.items():
            scale = balance["scale"]
            assert stored[account] == [
                str(minor(balance["balance"], scale)),
                str(minor(balance["held"], scale)),
                str(balance["seq"]),
                balance["digest"],
            ], account
    sums: Counter[str] = Counter()
    async for item in crowd.outside.auditor.listed("/v1/admin/transactions", limit=1000):
        per: Counter[str] = Counter()
        for posting in item["postings"]:
            book, _, asset = posting["account"].split("/")
            amount = int(posting["amount"].replace(".", ""))
            sums[posting["account"]] += amount
            per[f"{book}/{asset}"] += amount
        # Debit books are of other tests.
        assert not any(per.values()) or not per.keys() & {"main/USDT", "demo/USDT"}, item
    for account, values in stored.items():
        if account.split("/")[0] in ("main", "demo"):
            assert str(sums[account]) == values[0], account
