"""Coming and going while money moves: no screen starts with a gap, and none repeats itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .client import Json, Screen, accepted, update_of
from .conftest import Outside


@asynccontextmanager
async def _load(outside: Outside, users: list[str], writers: int = 8) -> AsyncIterator[list[Json]]:
    """Deposits and transfers among `users` for as long as the block runs; what was answered."""
    answers: list[Json] = []
    stopping = False

    async def write(number: int) -> None:
        while not stopping:
            one, other = users[number % len(users)], users[(number + 1) % len(users)]
            accepted(await outside.admin.deposit(one, "2"))
            answers.append(accepted(await outside.admin.transfer(one, other, "1")))

    tasks = [asyncio.create_task(write(number)) for number in range(writers)]
    try:
        yield answers
    finally:
        stopping = True
        await asyncio.gather(*tasks)


async def _shows_the_ledger(outside: Outside, screen: Screen) -> None:
    balances = await outside.admin.balances(screen.user_id)
    await screen.until(lambda: screen.balances == balances, what="the ledger's balances")


async def test_joining_in_the_middle_of_a_load(outside: Outside) -> None:
    users = [outside.new_user() for _ in range(4)]
    screens = [outside.screen(user) for user in users for _ in range(10)]
    monitors = [outside.monitor() for _ in range(3)]
    async with _load(outside, users) as answers:
        for screen in (*screens[::4], *monitors, *screens[1::2]):
            await screen.open()
        waiting = [screen for screen in screens if screen.cursor is None]
        await asyncio.gather(*(screen.open() for screen in waiting))
        await monitors[0].until(lambda: len(monitors[0].monitored) > 50, what="some changes")
    last = max(answer["position"] for answer in answers)
    for monitor in monitors:
        await monitor.until_position(last)
    whole = [update_of(update) for update in monitors[0].monitored]
    for screen in screens:
        await _shows_the_ledger(outside, screen)
        own = [update for update in whole if update["user_id"] == screen.user_id]
        # What a later screen saw is the end of what the first monitor saw of that user.
        assert screen.init is not None
        begin = max(screen.init["position"], whole[0]["position"] - 1)
        seen = [update for update in screen.updates if update["position"] > begin]
        assert seen == [update for update in own if update["position"] > begin]
    for screen in (*screens, *monitors):
        await screen.leave()


async def test_leaving_and_coming_back_in_the_middle_of_a_load(outside: Outside) -> None:
    users = [outside.new_user() for _ in range(3)]
    screens = [outside.screen(user) for user in users for _ in range(3)]
    monitor = outside.monitor()
    for screen in (*screens, monitor):
        await screen.open()

    async def come_and_go(screen: Screen, *, politely: bool) -> None:
        for _ in range(6):
            seen = screen.cursor or 0
            await screen.until(lambda seen=seen: (screen.cursor or 0) > seen + 5)  # type: ignore[misc]
            if politely:
                await screen.leave()
            else:
                screen.vanish()
                await screen.until_closed()
            await screen.come_back()
            assert screen.resumed is not None

    async with _load(outside, users) as answers:
        await asyncio.gather(
            *(
                come_and_go(screen, politely=number % 2 == 0)
                for number, screen in enumerate((*screens, monitor))
            )
        )
    last = max(answer["position"] for answer in answers)
    await monitor.until_position(last)
    for screen in screens:
        await _shows_the_ledger(outside, screen)
        own = [update for update in monitor.monitored if update["user_id"] == screen.user_id]
        assert screen.updates == [update_of(update) for update in own]
    for screen in (*screens, monitor):
        await screen.leave()


async def test_balances_and_monitor_come_back_together(outside: Outside) -> None:
    both = outside.monitor(streams=("balances", "monitor"))
    await both.open()
    async with _load(outside, ["ada", outside.new_user()], writers=4):
        for _ in range(4):
            seen = both.cursor or 0
            await both.until(lambda seen=seen: (both.cursor or 0) > seen + 5)  # type: ignore[misc]
            both.vanish()
            await both.until_closed()
            await both.come_back()
            assert both.resumed is not None
    last = await outside.admin.head()
    await both.until_position(last)
    assert both.balances == await outside.admin.balances("ada")
    own = [update_of(update) for update in both.monitored if update["user_id"] == "ada"]
    assert both.updates == own
    await both.leave()


async def test_latest_comes_back_to_the_latest(outside: Outside) -> None:
    alice = outside.new_user("alice")
    screen = outside.screen(alice, mode="latest")
    await screen.open()
    first = accepted(await outside.admin.deposit(alice, "1"))
    await screen.until_position(first["position"])
    await screen.leave()
    items = [
        {"operation": "deposit", "user_id": alice, "asset": asset, "amount": "1"}
        for asset in ("USDT", "USD", "BTC") * 100
    ]
    answer = await outside.admin.batch(items)
    await screen.come_back()
    assert screen.resumed is not None
    await screen.until_position(answer.json()["results"][-1]["position"])
    assert screen.balances == await outside.admin.balances(alice)
    assert len(screen.balances) == 3
    live = accepted(await outside.admin.deposit(alice, "1"))
    await screen.until_position(live["position"])
    assert screen.balances == await outside.admin.balances(alice)
    await screen.leave()


async def test_a_user_of_twelve_hundred_accounts(outside: Outside) -> None:
    alice = outside.new_user("alice")
    assets = [await outside.new_asset(2) for _ in range(40)]
    books = [await outside.new_book("many", accounts="open") for _ in range(30)]
    items = [
        {"operation": "deposit", "user_id": alice, "asset": asset, "book": book, "amount": "1"}
        for asset in assets
        for book in books
    ]
    for part in (items[:600], items[600:]):
        answer = await outside.admin.batch(part, atomic=True)
        assert answer.status_code == 200, answer.text
    async with outside.screen(alice) as screen:
        assert len(screen.balances) == 1200
        assert screen.balances == await outside.admin.balances(alice)
        assert screen.largest["user_balance_init"] <= 1_000_000
        again = await outside.admin.batch(items[:100])
        await screen.until_shown(again.json()["results"][-1]["position"])
        await screen.leave()
        last = (await outside.admin.batch(items[:1000])).json()["results"][-1]["position"]
        # All heads would not fit into a message of 64 KiB; those not named are not checked.
        point = screen.resume_point
        point["heads"] = dict(list(point["heads"].items())[:300])
        await screen.come_back(point)
        assert screen.resumed is not None and screen.resumed["count"] == 1000
        await screen.until_shown(last)
        assert screen.balances == await outside.admin.balances(alice)
