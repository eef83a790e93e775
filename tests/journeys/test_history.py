"""Looking back: history by filter and page, balances as of then, and days that are closed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from .client import Json, accepted, refused, update_of
from .conftest import Outside


async def _ids(outside: Outside, user: str, **query: Any) -> list[str]:
    path = f"/v1/users/{user}/history"
    return [item["transaction_id"] async for item in outside.auditor.listed(path, **query)]


async def test_filters_select_whole_updates(outside: Outside) -> None:
    alice, bob = outside.new_user("alice"), outside.new_user("bob")
    shop = await outside.new_book("shop", accounts="open")
    made: dict[str, Json] = {}

    async def entered(name: str, amount: str, **rest: Any) -> None:
        made[name] = accepted(await outside.admin.deposit(alice, amount, **rest))

    await entered("wire", "100", reference="wire/2026/1", metadata={"via": "bank", "n": 7})
    await entered("card", "50", reference="card/1", metadata={"via": "card"})
    await entered("usd", "20", asset="USD", reference="wire/2026/2")
    await entered("shop", "10", book=shop)
    made["sent"] = accepted(await outside.admin.transfer(alice, bob, "5"))
    order = list(reversed(made))

    async def found(**query: Any) -> list[str]:
        ids = await _ids(outside, alice, **query)
        names = {made[name]["transaction_id"]: name for name in made}
        return [names[each] for each in ids]

    assert await found() == order
    assert await found(type="transfer") == ["sent"]
    assert await found(type="deposit") == [name for name in order if name != "sent"]
    assert await found(book=shop) == ["shop"]
    assert await found(asset="USD") == ["usd"]
    assert await found(reference="card/1") == ["card"]
    assert await found(reference="wire/*") == ["usd", "wire"]
    assert await found(reference="wire/") == []
    assert await found(reference="wire/202_/*") == []
    assert await found(reference="%*") == []
    assert await found(reference="WIRE/*") == []
    assert await found(**{"metadata.via": "bank"}) == ["wire"]
    assert await found(**{"metadata.via": "bank", "asset": "USD"}) == []
    stamp = made["usd"]["updates"][0]["timestamp"]
    assert "usd" in await found(from_=stamp) and "usd" not in await found(to=stamp)
    assert set(await found(from_=stamp)) | set(await found(to=stamp)) == set(order)
    assert await _ids(outside, bob, type="transfer") == [made["sent"]["transaction_id"]]
    items = [i async for i in outside.auditor.listed(f"/v1/users/{bob}/history", limit=1)]
    assert [update_of(item) for item in items] == [
        update_of(update) for update in made["sent"]["updates"] if update["user_id"] == bob
    ]


async def test_a_metadata_key_is_a_name_whatever_it_holds(outside: Outside) -> None:
    alice = outside.new_user("alice")
    keys = [
        "plain",
        "a.b",
        'a"b',
        "a'b",
        "$.plain",
        "ключ",
        "a b",
        "a\\b",
        "[0]",
        "%",
        "0",
        "plain ",
    ]
    made = [
        accepted(await outside.admin.deposit(alice, "1", metadata={key: "x", "n": {"plain": "x"}}))
        for key in keys
    ]
    for key, answer in zip(keys, made, strict=True):
        found = await _ids(outside, alice, **{f"metadata.{key}": "x"})
        assert found == [answer["transaction_id"]], key
    for key in ("n.plain", "nothing", "a", "'; --"):
        assert await _ids(outside, alice, **{f"metadata.{key}": "x"}) == [], key
    assert await _ids(outside, alice, **{"metadata.plain": "X"}) == []


async def test_pages_never_repeat_nor_take_in_what_came_later(outside: Outside) -> None:
    alice = outside.new_user("alice")
    before = [accepted(await outside.admin.deposit(alice, "1"))["position"] for _ in range(10)]
    for path, caller in (
        (f"/v1/users/{alice}/history", outside.caller(alice)),
        ("/v1/admin/transactions", outside.auditor),
    ):
        seen: list[int] = []
        newest = await outside.admin.head()
        async for item in caller.listed(path, limit=3):
            seen.append(item["position"])
            accepted(await outside.admin.deposit(alice, "1"))
            if len(seen) == 12:
                break
        assert seen == sorted(set(seen), reverse=True)
        assert max(seen) == newest, "later rows entered a page"
    assert set(before) <= {
        item["position"] async for item in outside.caller(alice).listed("/v1/users/me/history")
    }


async def test_a_cursor_carries_its_filters(outside: Outside) -> None:
    alice = outside.new_user("alice")
    for number in range(6):
        accepted(await outside.admin.deposit(alice, "1", asset="USD" if number % 2 else "EUR"))
    caller = outside.caller(alice)
    page = (await caller.get("/v1/users/me/history", asset="USD", limit=2)).json()
    rest = await caller.get("/v1/users/me/history", cursor=page["next_cursor"], limit=2)
    assert rest.status_code == 200, rest.text
    assert [item["changes"][0]["asset"] for item in rest.json()["items"]] == ["USD"]
    assert rest.json()["next_cursor"] is None
    # Nobody reads another's history through a cursor of their own.
    bob = outside.caller(outside.new_user("bob"))
    other = await bob.get("/v1/users/me/history", cursor=page["next_cursor"])
    assert other.status_code in (200, 422)
    if other.status_code == 200:
        assert other.json()["items"] == []


async def test_as_of_shows_every_field_as_it_was(outside: Outside) -> None:
    alice = outside.new_user("alice")
    first = accepted(await outside.admin.deposit(alice, "10"))
    then = await outside.admin.balances(alice)
    path = f"/v1/admin/accounts/main/{alice}/USDT"
    settings: Json = {"status": "frozen", "floor": "-5", "alert_below": "3"}
    accepted(await outside.root.patch(path, settings))
    frozen = await outside.admin.balances(alice)
    last = accepted(await outside.root.patch(path, {"status": "active", "floor": None}))
    position = first["position"]
    assert await outside.admin.balances(alice, as_of_position=position) == then
    assert await outside.admin.balances(alice, as_of_position=position + 1) == frozen
    now = await outside.admin.balances(alice)
    assert await outside.admin.balances(alice, as_of_position=last["position"]) == now
    stamp = first["updates"][0]["timestamp"]
    assert await outside.admin.balances(alice, as_of_time=stamp) == then
    instant = datetime.fromisoformat(stamp) - timedelta(microseconds=1)
    earlier = instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
    assert await outside.admin.balances(alice, as_of_time=earlier) == {}


async def test_nothing_is_effective_on_a_closed_day(outside: Outside) -> None:
    alice = outside.new_user("alice")
    book = await outside.new_book(
        accounts="open",
        timezone="America/New_York",
        starts_on="2026-01-10",
        closed_through="2026-02-28",
    )
    head = await outside.admin.head()
    for at in (
        "2026-01-09T12:00:00Z",
        "2026-02-15T12:00:00Z",
        # Eleven in the evening of the last closed day in New York.
        "2026-03-01T04:00:00Z",
    ):
        answer = await outside.admin.deposit(alice, "1", book=book, effective_at=at)
        refused(answer, 400, "invalid_request")
    assert await outside.admin.head() == head
    open_day = await outside.admin.deposit(
        alice, "1", book=book, effective_at="2026-03-01T05:00:00Z"
    )
    accepted(open_day)
    accepted(await outside.admin.deposit(alice, "1", book=book))


async def test_the_audit_names_what_was_set_and_by_whom(outside: Outside) -> None:
    book = await outside.new_book("audited")
    newest = (await outside.auditor.get("/v1/admin/audit", limit=1)).json()["items"][0]
    assert newest["actor"] == "root"
    assert book in newest["target"]
    assert {"time", "actor", "action", "target", "details"} <= set(newest)
