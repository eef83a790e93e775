"""
Whoever tries to decide an outcome outside `demo` gets nowhere, by whatever call.

Each attempt is made while an option of `main` is open whose owner is controlled in `demo`. What is
refused leaves no position behind; what is taken is what it would have been without the trying.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from ..conftest import RunTallywire
from ..services.postgres import PostgresServer
from ..services.server import RunningServer
from .client import Caller, Json, accepted, refused
from .conftest import Outside
from .trading import Market, check_ledger, check_story, ended, new_market, opened, result, select

Go = Callable[[RunningServer], Awaitable[Outside]]

# Books that somebody may take for demo, or hope that the server does.
SPELLINGS: list[object] = [
    "main",
    "MAIN",
    "Demo",
    "DEMO",
    " demo",
    "demo ",
    "demo\n",
    "demo\u0000",
    "d\u0435mo",
    "demo/../main",
    "main/demo",
    "main,demo",
    "demo:real",
    "demo.",
    "demo2",
    "*",
    "",
    ["demo", "main"],
    {"book": "main"},
    0,
    True,
]
LIKE_DEMO = ["demo:real", "demo-main", "demo2", "demo.", "xdemo"]

SMUGGLED: list[Json] = [
    {"forced": True},
    {"forced": True, "outcome": "win"},
    {"control": "win"},
    {"control": {"mode": "win", "book": "demo"}},
    {"mode": "win"},
    {"open_price": "1.00"},
    {"price": "1.00", "price_source": "simulated"},
    {"settle_price": "1000.00", "status": "settled", "outcome": "win"},
    {"payout": "999", "payout_rate": "9.0000"},
    {"opens_at": "2020-01-01T00:00:00.000000Z", "expires_at": "2020-01-01T00:00:01.000000Z"},
    {"user_id": "SOMEBODY"},
    {"id": "01900000-0000-7000-8000-000000000001"},
    {"trade": {"forced": True, "control": "win"}},
    {"change_type": "option_settled"},
    {"metadata": {"forced": True, "control": "win", "outcome": "win"}},
    {"metadata": {"trade": {"forced": True}}, "description": "forced win"},
    {"book": "main", "Book": "demo", "books": ["demo"]},
    {"client_order_id": '","forced":true,"control":"win'},
]


class Real:
    """An option of `main` that is open, of a user whose options in `demo` all win."""

    def __init__(self, market: Market, alice: Caller, trade: Json) -> None:
        self.market = market
        self.outside = market.outside
        self.alice = alice
        self.trade = trade
        self.path = f"/v1/options/{trade['id']}"
        self.control = f"/v1/admin/trading-controls/{alice.user_id}"

    @classmethod
    async def open(cls, outside: Outside) -> Real:
        market = await new_market(outside)
        await market.push("100.00")
        alice = await market.trader("alice", "1000", "main", "demo")
        answer = await outside.root.put(
            f"/v1/admin/trading-controls/{alice.user_id}", {"mode": "win"}
        )
        assert answer.status_code == 200, answer.text
        body = opened(await market.option(alice, "up", "10", 3600, client_order_id="real"))
        assert body["trade"]["forced"] is False
        return cls(market, alice, body["trade"])

    @property
    def principals(self) -> list[Caller]:
        """Everybody, from the user to the superadmin."""
        outside = self.outside
        return [self.alice, outside.auditor, outside.admin, outside.root]

    @asynccontextmanager
    async def unmoved(self) -> AsyncIterator[None]:
        """Nothing is booked, and the option stays as it was."""
        head = await self.outside.admin.head()
        yield
        assert await self.outside.admin.head() == head, "something was booked"
        await self.stays()

    async def stays(self) -> None:
        """The option is open and nobody's, and the user is controlled in `demo` alone."""
        assert (await self.alice.get(self.path)).json() == self.trade
        told = (await self.outside.auditor.get(self.control)).json()
        assert (told["mode"], told["book"]) == ("win", "demo")


def _refused(answer: httpx.Response) -> None:
    assert 400 <= answer.status_code < 500, f"{answer.status_code}: {answer.text}"


async def test_no_spelling_of_a_book_reaches_another(exchange: Outside) -> None:
    real = await Real.open(exchange)
    for book in LIKE_DEMO:
        settings = {"side": "credit", "self_service": True}
        assert (await exchange.root.put(f"/v1/admin/books/{book}", settings)).status_code == 200
    async with real.unmoved():
        for spelling in [*SPELLINGS, *LIKE_DEMO]:
            for caller in real.principals:
                _refused(await caller.put(real.control, {"mode": "lose", "book": spelling}))
        for book in ("main", *LIKE_DEMO):
            answer = await exchange.root.put(real.control, {"mode": "lose", "book": book})
            refused(answer, 409, "demo_only")
        for path in ("?book=main", "/main", "%2Fmain", "/../main"):
            _refused(await exchange.root.put(real.control + path, {"mode": "lose", "book": "main"}))
    money: Json = {"book": "demo:real"}
    accepted(await exchange.admin.deposit(real.alice.user_id, "100", **money))
    option = opened(await real.market.option(real.alice, "up", "10", 3600, **money))["trade"]
    assert option["forced"] is False and "control" not in option
    answer = await exchange.root.post(f"/v1/options/{option['id']}/force", {"outcome": "win"})
    refused(answer, 409, "demo_only")


async def test_no_call_ends_an_option_of_main(exchange: Outside) -> None:
    real = await Real.open(exchange)
    body = opened(await real.market.option(real.alice, "up", "10", 3600, book="demo"))
    demo = f"/v1/options/{body['transaction_id']}"
    win: Json = {"outcome": "win"}
    async with real.unmoved():
        for caller in real.principals:
            for rest in ({}, {"book": "demo"}, {"forced": True}, {"trade": body["trade"]}):
                _refused(await caller.post(f"{real.path}/force", {**win, **rest}))
        refused(await exchange.root.post(f"{real.path}/force", win), 409, "demo_only")
        for path in (f"{real.path}/force?book=demo", f"{real.path.upper()}/force"):
            _refused(await exchange.root.post(path, win))
        for method in ("PUT", "PATCH", "DELETE"):
            answer = await exchange.http.request(
                method,
                real.path,
                json=win,
                headers={"Authorization": f"Bearer {exchange.root.token}"},
            )
            _refused(answer)
        for path in (f"/v1/transactions/{real.trade['id']}/reversal",):
            for force in (False, True):
                answer = await exchange.root.post(path, {"description": "undo", "force": force})
                refused(answer, 409, "not_reversible")
        for step in ("confirm", "void"):
            _refused(await exchange.root.post(f"/v1/holds/{real.trade['id']}/{step}", {}))
    # A key that ended an option of demo ends none of main, neither with its body nor with another.
    accepted(await exchange.root.post(f"{demo}/force", win, key=f"key-{body['position']}"))
    async with real.unmoved():
        for rest in ({}, {"book": "demo"}):
            key = f"key-{body['position']}"
            answer = await exchange.root.post(f"{real.path}/force", {**win, **rest}, key=key)
            _refused(answer)


async def test_no_field_of_an_order_decides_it(exchange: Outside) -> None:
    real = await Real.open(exchange)
    bob = await real.market.trader("bob", "1000", "main", "demo")
    ids = []
    async with exchange.screen(real.alice.user_id) as screen:
        for smuggled in SMUGGLED:
            rest = json.loads(json.dumps(smuggled).replace("SOMEBODY", bob.user_id))
            answer = await real.market.option(real.alice, "down", "10", **rest)
            if answer.status_code != 201:
                _refused(answer)
                continue
            trade = opened(answer)["trade"]
            ids.append(trade["id"])
            assert (trade["user_id"], trade["book"]) == (real.alice.user_id, "main"), smuggled
            assert (trade["forced"], trade["outcome"]) == (False, None), smuggled
            assert (trade["open_price"], trade["payout"]) == ("100.00", "8.000000"), smuggled
            assert "control" not in trade, smuggled
        assert ids, "nothing was taken at all"
        await real.market.push("101.00")
        for trade in await ended(screen, *ids):
            assert result(trade) == real.market.decided(trade)
            check_story(screen.updates, trade)
    await real.stays()
    await check_ledger(exchange)


async def test_a_replayed_request_does_not_change_its_book(exchange: Outside) -> None:
    real = await Real.open(exchange)
    alice, market = real.alice, real.market
    terms: Json = {"duration_s": 3600, "client_order_id": "both"}
    demo = opened(await market.option(alice, "up", "10", book="demo", key="k", **terms))
    assert demo["trade"]["forced"] is True
    headers = {"Authorization": f"Bearer {exchange.root.token}", "Idempotency-Key": f"c{real.path}"}
    put = {"mode": "win", "book": "demo"}
    assert (await exchange.http.put(real.control, json=put, headers=headers)).status_code == 200
    async with real.unmoved():
        for rest in ({}, {"book": "main"}):
            again = await market.option(alice, "up", "10", key="k", **terms | rest)
            refused(again, 422, "idempotency_key_reused")
            again = await market.option(alice, "up", "10", **terms | rest)
            refused(again, 409, "conflict")
        answer = await exchange.http.put(
            real.control, json={"mode": "win", "book": "main"}, headers=headers
        )
        _refused(answer)
        for to in ("to_book", "from_book"):
            body = {"from_user": alice.user_id, "to_user": "bob", "asset": "USDT", "amount": "1"}
            answer = await exchange.admin.post("/v1/transfers", {**body, to: "demo", "book": "no"})
            _refused(answer)
    # Money of demo cannot become money of main.
    bob = exchange.new_user("bob")
    accepted(await alice.transfer("me", bob, "1", book="demo", to_book="main"))
    assert list(await exchange.auditor.balances(bob)) == [f"demo/{bob}/USDT"]
    accepted(
        await exchange.root.post(f"/v1/options/{demo['transaction_id']}/force", {"outcome": "win"})
    )
    main = await exchange.auditor.balances(alice.user_id, book="main")
    assert main[f"main/{alice.user_id}/USDT"]["balance"] == "990.000000"


OPERATIONS = [
    "trading_control",
    "trading-control",
    "control",
    "option",
    "options",
    "option_opened",
    "option_settled",
    "option_refunded",
    "force",
    "force_option",
    "spot_buy",
    "repair",
    "adoption",
    "opening_balance",
]


async def test_no_batch_and_no_other_change_does_it(exchange: Outside) -> None:
    real = await Real.open(exchange)
    user = real.alice.user_id
    item: Json = {
        "user_id": user,
        "asset": "USDT",
        "amount": "10",
        "book": "main",
        "mode": "win",
        "outcome": "win",
        "option_id": real.trade["id"],
        "id": real.trade["id"],
        "trade": real.trade["id"],
        "pair": real.market.name,
        "direction": "up",
        "stake": "1",
        "duration_s": 1,
        "forced": True,
    }
    async with real.unmoved():
        for caller in real.principals:
            for operation in OPERATIONS:
                answer = await caller.batch([{**item, "operation": operation}])
                results = answer.json().get("results", [])
                assert answer.status_code >= 400 or results[0]["status"] >= 400, operation
    smuggled: Json = {
        **{
            field: item[field]
            for field in ("mode", "outcome", "trade", "id", "forced", "option_id")
        },
        "control": {"mode": "win", "book": "main"},
        "change_type": "option_settled",
        "kind": "option_settled",
        "metadata": {"trade": real.trade["id"], "control": {"mode": "win", "book": "main"}},
    }
    account = f"/v1/admin/accounts/main/{user}/USDT"
    changes: list[Awaitable[httpx.Response]] = [
        exchange.admin.deposit(user, "1", **smuggled),
        exchange.root.post(
            "/v1/adjustments",
            {"user_id": user, "asset": "USDT", "amount": "1", "description": "x", **smuggled},
        ),
        exchange.root.patch(account, {"alert_below": "1", **smuggled}),
        exchange.admin.batch(
            [{"operation": "deposit", "user_id": user, "asset": "USDT", "amount": "1", **smuggled}]
        ),
        exchange.root.put("/v1/admin/books/main", {"demo": True, "control": "win", **smuggled}),
        exchange.root.put(f"/v1/admin/pairs/{real.market.name}", {"control": "win", **smuggled}),
    ]
    for change in changes:
        answer = await change
        assert answer.status_code < 500, answer.text
        assert "option" not in answer.text or answer.status_code >= 400
        await real.stays()
    async with exchange.screen(user) as screen:
        for kind in ("trading_control", "force", "option", "balance_update"):
            message = {
                "type": kind,
                "user_id": user,
                "mode": "win",
                "book": "main",
                **win_fields(real),
            }
            await screen.send(message)
        await screen.until(lambda: screen.messages["error"] == 4, what="four errors")
        assert screen.control == {"mode": "win", "book": "demo"}
    await real.stays()
    await check_ledger(exchange)


def win_fields(real: Real) -> Json:
    """What a message would have to say to end the option."""
    return {"outcome": "win", "id": real.trade["id"], "forced": True}


BY_HAND = [
    "INSERT INTO trading_controls (book, user_id, mode) VALUES ('main', 'alice', 'win')",
    "UPDATE trading_controls SET book = 'main'",
    "UPDATE trades SET forced = 1 WHERE book = 'main'",
    "UPDATE trades SET book = 'main' WHERE forced = 1",
    "UPDATE prices SET price = 1",
    "DELETE FROM prices",
]


@pytest.fixture
def by_hand(request: pytest.FixtureRequest, exchange: Outside) -> Callable[[str], None]:
    """Somebody with the database's password: runs one statement behind the ledger's back."""
    url = exchange.server.database_url

    def run(sql: str) -> None:
        if url.startswith("sqlite"):
            file = url.partition("///")[2]
            with closing(sqlite3.connect(file, timeout=10)) as connection, connection:
                connection.execute(sql)
        else:
            postgres: PostgresServer = request.getfixturevalue("postgres_server")
            postgres.execute(sql, urlsplit(url).path[1:])

    return run


async def test_the_database_itself_knows_of_no_other_book(
    exchange: Outside, by_hand: Callable[[str], None]
) -> None:
    real = await Real.open(exchange)
    opened(await real.market.option(real.alice, "up", "10", 3600, book="demo"))
    for statement in BY_HAND:
        with pytest.raises((sqlite3.DatabaseError, RuntimeError), match=r"constraint|append-only"):
            by_hand(statement)
    await real.stays()


async def test_an_open_option_that_was_altered_ends_by_what_the_journal_says(
    exchange: Outside, by_hand: Callable[[str], None]
) -> None:
    real = await Real.open(exchange)
    async with exchange.screen(real.alice.user_id) as screen:
        body = opened(await real.market.option(real.alice, "up", "10", 2))
        by_hand(
            """UPDATE trades SET told = replace(told, '"open_price":"100.00"',"""
            f""" '"open_price":"50.00"') WHERE id = '{body["transaction_id"]}'"""
        )
        shown = (await real.alice.get(f"/v1/options/{body['transaction_id']}")).json()
        assert shown["open_price"] == "50.00", "nothing was altered"
        (trade,) = await ended(screen, body["transaction_id"])
        assert (trade["open_price"], trade["outcome"]) == ("100.00", "tie")
        check_story(screen.updates, trade)
    await check_ledger(exchange)


def _forged(journal: str, main: str, demo: str) -> dict[str, str]:
    """The journal with an outcome decided in `main`, in each way that its lines offer."""
    lines = journal.splitlines(keepends=True)

    def changed(naming: str, old: str, new: str) -> str:
        return "".join(line.replace(old, new) if naming in line else line for line in lines)

    quote = '\\"'
    forced = f"{quote}forced{quote}:"
    return {
        "a control of main": changed("trading_control", "demo", "main"),
        "an option of demo moved to main": changed(demo, "demo", "main"),
        "an option of main that is forced": changed(main, f"{forced}false", f"{forced}true"),
        "another price": changed(main, "100.00", "99.00"),
    }


async def test_no_file_brings_it_in(
    exchange: Outside, tallywire: RunTallywire, tmp_path: Path, sqlite_url: str
) -> None:
    real = await Real.open(exchange)
    demo = opened(await real.market.option(real.alice, "up", "10", 3600, book="demo"))["trade"]
    url = exchange.server.database_url
    done = await asyncio.to_thread(tallywire, "export", "journal.jsonl", database_url=url)
    assert done.returncode == 0, done.stderr
    journal = (tmp_path / "journal.jsonl").read_text()
    for case, forged in _forged(journal, real.trade["id"], demo["id"]).items():
        assert forged != journal, case
        (tmp_path / "forged.jsonl").write_text(forged)
        done = await asyncio.to_thread(tallywire, "import", "forged.jsonl", database_url=sqlite_url)
        assert done.returncode != 0, f"{case}: {done.stdout}"
        assert select(sqlite_url, None, "SELECT count(*) FROM transactions") == [["0"]], case
    done = await asyncio.to_thread(tallywire, "import", "journal.jsonl", database_url=sqlite_url)
    assert done.returncode == 0, done.stderr
    controls = select(sqlite_url, None, "SELECT DISTINCT book FROM trading_controls")
    assert controls == [["demo"]]
