"""Trading control from outside: it decides options of play money, tells its user, and stays."""

from __future__ import annotations

import asyncio

from .client import Caller, Json, Screen, accepted, refused, update_of
from .conftest import Outside
from .test_refused_requests import nothing_changes
from .trading import (
    Market,
    check_ledger,
    check_screens,
    check_story,
    ended,
    new_market,
    opened,
    result,
    updates_of,
)


def _path(user: str) -> str:
    return f"/v1/admin/trading-controls/{user}"


async def _set(outside: Outside, user: str, mode: str) -> None:
    answer = await outside.root.put(_path(user), {"mode": mode})
    assert answer.status_code == 200, answer.text
    assert (await outside.auditor.get(_path(user))).json()["mode"] == mode


async def _told(screen: Screen, mode: str) -> None:
    """The user's own screen says what was decided about them."""
    await screen.until(
        lambda: screen.control == {"mode": mode, "book": "demo"}, what=f"the control {mode}"
    )


async def _bet(market: Market, caller: Caller, direction: str, book: str = "demo") -> str:
    body = opened(await market.option(caller, direction, "10", book=book))
    return str(body["transaction_id"])


async def test_win_then_lose_for_one_user_of_demo(exchange: Outside) -> None:
    market = await new_market(exchange)
    await market.push("100.00")
    alice = await market.trader("alice", "1000", "demo", "main")
    bob = await market.trader("bob", "1000", "demo")
    money = f"demo/{alice.user_id}/USDT"
    async with (
        exchange.screen(alice.user_id) as screen,
        exchange.stream(alice.user_id) as stream,
        exchange.screen(bob.user_id) as at_bob,
        exchange.monitor() as monitor,
    ):
        assert screen.control is None
        await _set(exchange, alice.user_id, "win")
        for each in (screen, stream):
            await _told(each, "win")
        # Sticky: two options that the price is against; and what it must leave alone.
        won = [await _bet(market, alice, "down"), await _bet(market, alice, "down")]
        real = await _bet(market, alice, "down", book="main")
        others = await _bet(market, bob, "down")
        await _set(exchange, alice.user_id, "lose")
        await _told(screen, "lose")
        lost = await _bet(market, alice, "up")
        await market.push("101.00")
        lost_too = await _bet(market, alice, "up")
        await market.push("102.00")

        for trade in await ended(screen, *won):
            assert (trade["outcome"], trade["forced"], trade["book"]) == ("win", True, "demo")
        for trade in await ended(screen, lost, lost_too):
            assert (trade["outcome"], trade["forced"]) == ("lose", True)
        (mine,) = await ended(screen, real)
        (theirs,) = await ended(at_bob, others)
        for trade in (mine, theirs):
            assert not trade["forced"] and result(trade) == market.decided(trade)
            assert "control" not in trade
        assert screen.balances[money]["balance"] == "996.000000"
        await _seen_by_all(exchange, screen, alice, monitor)
        check_story(at_bob.updates, theirs)

        # It stays, is told by the init, and what was set meanwhile is told on coming back.
        async with exchange.screen(alice.user_id) as fresh:
            assert fresh.control == {"mode": "lose", "book": "demo"}
            assert fresh.balances == screen.balances
        async with exchange.screen(bob.user_id) as fresh:
            assert fresh.control is None
        await stream.until_shown(screen.updates[-1]["position"])
        await stream.leave()
        await _set(exchange, alice.user_id, "normal")
        await stream.come_back()
        assert stream.resumed is not None and stream.resumed["count"] == 1
        for each in (screen, stream):
            await _told(each, "normal")
        (normal,) = await ended(screen, await _bet(market, alice, "up"))
        assert (normal["outcome"], normal["forced"]) == ("tie", False)
        await check_screens(exchange, screen, at_bob)
    await check_ledger(exchange)


async def _seen_by_all(outside: Outside, screen: Screen, alice: Caller, monitor: Screen) -> None:
    """What the user was shown of it, the monitor was, the history has, and the audit knows."""
    for trade in screen.trades.values():
        story = updates_of(screen.updates, trade["id"])
        check_story(story, trade)
        assert story[0]["trade"]["forced"] == trade["forced"], "forced is shown from the beginning"
        await monitor.until_position(story[-1]["position"])
        seen = [update_of(update) for update in updates_of(monitor.monitored, trade["id"])]
        assert seen == story
    set_to = [
        (update["control"]["mode"], update["control"]["book"], update["changes"], update["actor"])
        for update in monitor.monitored
        if update["change_type"] == "trading_control" and update["user_id"] == alice.user_id
    ]
    assert set_to == [("win", "demo", [], "root"), ("lose", "demo", [], "root")]
    history = alice.listed(f"/v1/users/{alice.user_id}/history", type="trading_control")
    assert [update["control"]["mode"] async for update in history] == ["lose", "win"]
    audited = [
        item
        async for item in outside.auditor.listed("/v1/admin/audit")
        if alice.user_id in str(item["target"])
    ]
    assert len(audited) == 2 and {item["actor"] for item in audited} == {"root"}


async def test_an_open_demo_option_is_ended_by_hand(exchange: Outside) -> None:
    market = await new_market(exchange)
    await market.push("100.00")
    alice = await market.trader("alice", "1000", "demo", "main")
    terms: Json = {"book": "demo", "duration_s": 3600}
    async with exchange.screen(alice.user_id) as screen, exchange.monitor() as monitor:
        outcomes = {"win": "1009.000000", "lose": "999.000000", "tie": "999.000000"}
        for outcome, balance in outcomes.items():
            body = opened(await market.option(alice, "up", "10", **terms))
            path = f"/v1/options/{body['transaction_id']}/force"
            async with nothing_changes(exchange, alice.user_id):
                for caller in (alice, exchange.auditor, exchange.admin):
                    refused(await caller.post(path, {"outcome": outcome}), 403, "not_allowed")
                for wrong in ("", "WIN", "normal"):
                    answer = await exchange.root.post(path, {"outcome": wrong})
                    refused(answer, 400, "invalid_request")
            answers = await asyncio.gather(
                *(exchange.root.post(path, {"outcome": outcome}) for _ in range(5))
            )
            (told,) = [accepted(answer) for answer in answers if answer.status_code == 201]
            assert sorted(answer.status_code for answer in answers) == [201] + [409] * 4
            (trade,) = await ended(screen, body["transaction_id"])
            assert told["trade"] == trade
            assert (trade["outcome"], trade["forced"]) == (outcome, True)
            assert screen.balances[f"demo/{alice.user_id}/USDT"]["balance"] == balance
            check_story(screen.updates, trade)
            async with nothing_changes(exchange, alice.user_id):
                again = await exchange.root.post(path, {"outcome": "win"})
                refused(again, 409, "conflict")
        await monitor.until_position(screen.updates[-1]["position"])
        for trade in screen.trades.values():
            actors = [update["actor"] for update in updates_of(monitor.monitored, trade["id"])]
            assert actors == [alice.user_id, "root"]
        await check_screens(exchange, screen)
    await check_ledger(exchange)


async def test_only_a_superadmin_decides_and_only_for_demo(exchange: Outside) -> None:
    market = await new_market(exchange)
    alice = await market.trader("alice", "1000", "demo", "main")
    async with nothing_changes(exchange, alice.user_id):
        for caller in (alice, exchange.auditor, exchange.admin):
            answer = await caller.put(_path(alice.user_id), {"mode": "win"})
            refused(answer, 403, "not_allowed")
        refused(await alice.get(_path(alice.user_id)), 403, "not_allowed")
        for mode in ("", "WIN", None, 1):
            answer = await exchange.root.put(_path(alice.user_id), {"mode": mode})
            refused(answer, 400, "invalid_request")
        answer = await exchange.root.put(_path(alice.user_id), {"mode": "win", "book": "main"})
        refused(answer, 409, "demo_only")
        assert (await exchange.auditor.get(_path(alice.user_id))).json()["mode"] == "normal"
