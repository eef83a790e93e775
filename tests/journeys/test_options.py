"""Options from outside: deducted at once, settled by the price of their expiry, shown to all."""

from __future__ import annotations

import asyncio

from .client import Json, accepted, minor, refused, update_of
from .conftest import Outside
from .test_refused_requests import nothing_changes
from .trading import (
    QUOTE_SCALE,
    check_ledger,
    check_screens,
    check_story,
    ended,
    new_market,
    opened,
    result,
    updates_of,
)


def _postings(transaction: Json) -> dict[str, int]:
    return {p["account"]: minor(p["amount"], QUOTE_SCALE) for p in transaction["postings"]}


async def test_win_lose_and_tie_reach_every_screen(exchange: Outside) -> None:
    market = await new_market(exchange)
    await market.push("100.00")
    alice, bob, carol = [await market.trader(name) for name in ("alice", "bob", "carol")]
    async with (
        exchange.screen(alice.user_id) as screen,
        exchange.stream(alice.user_id) as stream,
        exchange.screen(alice.user_id, mode="latest") as latest,
        exchange.screen(bob.user_id) as at_bob,
        exchange.screen(carol.user_id) as at_carol,
        exchange.monitor() as monitor,
    ):
        up = opened(await market.option(alice, "up", "10.5", 2, client_order_id="first"))
        down = opened(await market.option(bob, "down", "7", 2))
        await market.push("100.01")
        tie = opened(await market.option(carol, "up", "3"))
        deposit = accepted(await exchange.root.deposit(alice.user_id, "500"))
        assert up["trade"]["open_price"] == "100.00"
        assert (up["trade"]["payout"], up["trade"]["payout_rate"]) == ("8.925000", "0.8500")

        # Deducted at once, in the answer and on every screen; and money goes on meanwhile.
        for each in (screen, stream):
            await each.until_shown(deposit["position"])
            bought, *_ = updates_of(each.updates, up["transaction_id"])
            assert bought == update_of(up["updates"][0])
            assert bought["changes"][0]["balance"] == "989.500000"
            (live,) = [u for u in each.updates if u["position"] == deposit["position"]]
            assert live == update_of(deposit["updates"][0])

        (won,) = await ended(screen, up["transaction_id"])
        (lost,) = await ended(at_bob, down["transaction_id"])
        (tied,) = await ended(at_carol, tie["transaction_id"])
        assert [each["outcome"] for each in (won, lost, tied)] == ["win", "lose", "tie"]
        await ended(stream, won["id"])
        for caller, trade, at in (
            (alice, won, screen),
            (bob, lost, at_bob),
            (carol, tied, at_carol),
        ):
            assert result(trade) == market.decided(trade)
            assert trade["price_source"] == "pushed"
            assert trade["settled_at"] >= trade["expires_at"]
            assert (await caller.get(f"/v1/options/{trade['id']}")).json() == trade
            check_story(at.updates, trade)
            await monitor.until_position(at.updates[-1]["position"])
            seen = [update_of(update) for update in updates_of(monitor.monitored, trade["id"])]
            assert seen == updates_of(at.updates, trade["id"])
        account = f"main/{alice.user_id}/USDT"
        assert screen.balances[account]["balance"] == "1508.925000"
        assert at_bob.updates[-1]["changes"] == [], "a lost stake is gone already"
        assert at_carol.balances[f"main/{carol.user_id}/USDT"]["balance"] == "1000.000000"

        await check_screens(exchange, screen, stream, latest, at_bob, at_carol)
        for caller, at in ((alice, screen), (bob, at_bob), (carol, at_carol)):
            path = f"/v1/users/{caller.user_id}/history"
            history = [update_of(item) async for item in caller.listed(path)]
            assert history[: len(at.updates)] == at.updates[::-1]

    stake, prize = 10_500_000, 8_925_000
    for update, expected in zip(
        updates_of(monitor.monitored, won["id"]),
        (
            {account: -stake, "main/@escrow/USDT": stake},
            {
                account: stake + prize,
                "main/@escrow/USDT": -stake,
                "main/@house/USDT": -prize,
            },
        ),
        strict=True,
    ):
        path = f"/v1/transactions/{update['transaction_id']}"
        assert _postings((await exchange.auditor.get(path)).json()) == expected
    path = f"/v1/transactions/{at_bob.updates[-1]['transaction_id']}"
    assert _postings((await exchange.auditor.get(path)).json()) == {
        "main/@escrow/USDT": -7_000_000,
        "main/@house/USDT": 7_000_000,
    }
    assert (await bob.get(path)).json()["trade"] == lost, "its subject may look"
    refused(await alice.get(path), 404, "not_found")
    await check_ledger(exchange)


async def test_who_was_away_sees_the_settlement_on_coming_back(exchange: Outside) -> None:
    market = await new_market(exchange)
    await market.push("100.00")
    alice, bob = await market.trader("alice"), await market.trader("bob")
    async with (
        exchange.screen(alice.user_id) as screen,
        exchange.screen(bob.user_id) as at_bob,
        exchange.monitor() as monitor,
    ):
        await screen.leave()
        at_bob.vanish()
        await at_bob.until_closed()
        first = opened(await market.option(alice, "down", "5"))
        second = opened(await market.option(bob, "down", "5"))
        await market.push("99.00")
        await monitor.until(
            lambda: sum(u["change_type"] == "option_settled" for u in monitor.monitored) == 2,
            what="both settlements",
        )
        await screen.come_back()
        await at_bob.come_back()
        for each, was in ((screen, first), (at_bob, second)):
            (trade,) = await ended(each, was["transaction_id"])
            assert each.resumed is not None and each.resumed["count"] == 2
            check_story(each.updates, trade)
            assert result(trade) == market.decided(trade)
        await check_screens(exchange, screen, at_bob)
    async with exchange.screen(alice.user_id) as fresh:
        assert fresh.balances == screen.balances


async def test_what_is_refused_leaves_no_trace(exchange: Outside) -> None:
    market = await new_market(exchange, maximum_stake="100", exposure_limit="100")
    alice = await market.trader("alice", "150", "demo")
    bob = await market.trader("bob", "1000", "demo")
    carol = await market.trader("carol", "10", "demo")
    debts = await exchange.new_book(side="debit", self_service=True)
    closed = await exchange.new_book(self_service=False)
    async with nothing_changes(exchange, alice.user_id, bob.user_id):
        refused(await market.option(alice, "up", "1", book="demo"), 422, "stale_price")
    await market.push("100.00")
    terms: Json = {"book": "demo", "duration_s": 3600}
    taken = [
        opened(await market.option(alice, "up", stake, key=stake, **terms))
        for stake in ("40", "60")
    ]
    async with nothing_changes(exchange, alice.user_id, bob.user_id):
        for stake in ("0", "-1", "1.0000001", "100.000001", "01", ""):
            refused(await market.option(bob, "up", stake, **terms), 422, "invalid_amount")
        # 36 and 54 may have to be paid already.
        refused(await market.option(bob, "up", "12", **terms), 422, "exposure_limit")
        problem = refused(await market.option(alice, "up", "51", **terms), 422, "exposure_limit")
        assert "required" not in problem
        problem = refused(
            await market.option(carol, "up", "11", **terms), 422, "insufficient_funds"
        )
        assert (problem["required"], problem["available"]) == ("11.000000", "10.000000")
        for wrong in ({"direction": "left"}, {"duration_s": 3}, {"duration_s": "1"}):
            body = {"pair": market.name, "direction": "up", "stake": "1", "duration_s": 1, **wrong}
            refused(await bob.post("/v1/options", body), 400, "invalid_request")
        refused(await market.option(bob, "up", "1", book=debts), 400, "invalid_request")
        refused(await market.option(bob, "up", "1", book=closed), 403, "not_allowed")
        refused(await market.option(bob, "up", "1", book="nowhere"), 422, "unknown_book")
        refused(await market.option(bob, "up", "1", pair="NO-SUCH"), 404, "not_found")
        refused(await market.option(exchange.auditor, "up", "1"), 403, "not_allowed")

        again = await market.option(alice, "up", "40", key="40", **terms)
        assert again.headers["idempotent-replayed"] == "true"
        assert again.json() == taken[0]
        other = await market.option(alice, "down", "40", key="40", **terms)
        refused(other, 422, "idempotency_key_reused")
        refused(await bob.get(f"/v1/options/{taken[0]['transaction_id']}"), 404, "not_found")
        refused(await bob.get("/v1/options", user_id=alice.user_id), 403, "not_allowed")
        assert [trade async for trade in bob.listed("/v1/options")] == []
    listed = exchange.auditor.listed("/v1/options", user_id=alice.user_id)
    assert [trade["id"] async for trade in listed] == [
        body["transaction_id"] for body in taken[::-1]
    ]
    # What may have to be paid is given back with the option that it was for.
    forced = await exchange.root.post(
        f"/v1/options/{taken[0]['transaction_id']}/force", {"outcome": "lose"}
    )
    accepted(forced)
    again = await market.option(alice, "up", "40", key="40", **terms)
    assert again.json() == taken[0], "a replay answers what was answered first"
    opened(await market.option(bob, "up", "12", **terms))
    # An account stays while it may yet be paid something.
    dora = await market.trader("dora", "1", "demo")
    opened(await market.option(dora, "up", "1", **terms))
    account = f"/v1/admin/accounts/demo/{dora.user_id}/USDT"
    async with nothing_changes(exchange, dora.user_id):
        refused(await exchange.root.patch(account, {"status": "closed"}), 409, "conflict")


async def test_no_more_than_the_exposure_is_taken_at_once(exchange: Outside) -> None:
    market = await new_market(exchange, exposure_limit="20")
    await market.push("100.00")
    traders = [await market.trader("alice", "100", "demo") for _ in range(10)]
    # Of 9 each, two fit.
    answers = await asyncio.gather(
        *(market.option(trader, "up", "10", 3600, book="demo") for trader in traders)
    )
    taken = [opened(answer) for answer in answers if answer.status_code == 201]
    assert len(taken) == 2
    for answer in answers:
        if answer.status_code != 201:
            refused(answer, 422, "exposure_limit")
    # Each book has its own.
    carol = await market.trader("carol")
    opened(await market.option(carol, "up", "20", 3600))
    await check_ledger(exchange)


async def test_whatever_stands_still_options_are_settled(exchange: Outside) -> None:
    """Of the suspended, of the frozen, and while the ledger is paused."""
    market = await new_market(exchange)
    await market.push("100.00")
    alice, bob = await market.trader("alice"), await market.trader("bob")
    async with exchange.screen(alice.user_id) as screen, exchange.screen(bob.user_id) as at_bob:
        first = opened(await market.option(alice, "up", "5", 2))
        second = opened(await market.option(bob, "up", "999", 2))
        account = "/v1/admin/accounts/main/{}/USDT"
        frozen = await exchange.root.patch(account.format(alice.user_id), {"status": "frozen"})
        accepted(frozen)
        accepted(await exchange.root.patch(account.format(bob.user_id), {"suspend_below": "500"}))
        async with nothing_changes(exchange, alice.user_id):
            refused(await market.option(alice, "up", "5"), 409, "account_frozen")
        await market.push("101.00")
        assert (await exchange.root.post("/v1/admin/pause", {})).status_code == 200
        try:
            refused(await market.option(bob, "up", "5"), 503, "paused")
            for each, body in ((screen, first), (at_bob, second)):
                (trade,) = await ended(each, body["transaction_id"])
                assert result(trade) == market.decided(trade)
                check_story(each.updates, trade)
        finally:
            assert (await exchange.root.post("/v1/admin/resume", {})).status_code == 200
        assert screen.balances[f"main/{alice.user_id}/USDT"]["status"] == "frozen"
        await check_screens(exchange, screen, at_bob)
    await check_ledger(exchange)


async def test_without_a_price_young_enough_the_stake_comes_back(exchange: Outside) -> None:
    market = await new_market(exchange, settlement_age_s=1)
    await market.push("100.00")
    alice = await market.trader("alice")
    async with exchange.screen(alice.user_id) as screen, exchange.monitor() as monitor:
        body = opened(await market.option(alice, "up", "5", 2))
        (refunded,) = await ended(screen, body["transaction_id"])
        assert (refunded["status"], refunded["outcome"]) == ("refunded", None)
        assert refunded["reason"]
        check_story(screen.updates, refunded)
        await monitor.until_position(screen.updates[-1]["position"])
        check_story(monitor.monitored, refunded)
        assert screen.balances[f"main/{alice.user_id}/USDT"]["balance"] == "1000.000000"
        await check_screens(exchange, screen)
    await check_ledger(exchange)
