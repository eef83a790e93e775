"""The same key asks the same thing once: IDEMPOTENT_REPLAY and IDEMPOTENT_CONFLICT."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from ..conftest import StartServer
from ..services.server import RunningServer
from .client import Json, accepted, check_accepted, check_problem, refused
from .conftest import FAST, Outside

Go = Callable[[RunningServer], Awaitable[Outside]]


def _replayed(answer: httpx.Response) -> bool:
    return bool(answer.headers.get("idempotent-replayed") == "true")


async def test_a_replay_answers_the_first_result(outside: Outside) -> None:
    alice = outside.new_user("alice")
    async with outside.screen(alice) as screen:
        first = await outside.admin.deposit(alice, "5", key="a-1", metadata={"b": 1, "a": [2]})
        between = accepted(await outside.admin.deposit(alice, "7"))
        again = await outside.admin.deposit(
            alice, "5.000000", key="a-1", metadata={"a": [2], "b": 1}
        )
        assert accepted(first) == accepted(again)
        assert not _replayed(first) and _replayed(again)
        last = accepted(await outside.admin.deposit(alice, "1"))
        assert last["position"] == between["position"] + 1
        await screen.until_shown(last["position"])
        assert len(screen.updates) == 3


async def test_defaults_and_quotes_do_not_make_another_request(outside: Outside) -> None:
    alice = outside.new_user("alice")
    first = await outside.admin.deposit(alice, "5", key="d-1")
    written_out = await outside.admin.deposit(
        alice, "5.00", key='"d-1"', book="main", description="", reference=None, metadata={}
    )
    assert accepted(first) == accepted(written_out)
    assert _replayed(written_out)


async def test_one_in_flight_is_waited_for(outside: Outside) -> None:
    alice = outside.new_user("alice")
    answers = await asyncio.gather(
        *(outside.admin.deposit(alice, "5", key="flight") for _ in range(32))
    )
    bodies = [accepted(answer) for answer in answers]
    assert all(body == bodies[0] for body in bodies)
    assert sum(not _replayed(answer) for answer in answers) == 1
    balances = await outside.admin.balances(alice)
    assert balances[f"main/{alice}/USDT"]["balance"] == "5.000000"


OTHERS: dict[str, Json] = {
    "amount": {"amount": "5.000001"},
    "asset": {"asset": "USD"},
    "book": {"book": "demo"},
    "user": {"user_id": "somebody else"},
    "description": {"description": "other"},
    "reference": {"reference": "other"},
    "metadata": {"metadata": {"a": 1}},
    "internal": {"internal": 1},
    "effective_at": {"effective_at": "2026-01-01T00:00:00Z"},
}


@pytest.mark.parametrize("other", OTHERS)
async def test_another_request_under_the_key_is_refused(outside: Outside, other: str) -> None:
    alice = outside.new_user("alice")
    key = f"other-{alice}"
    body = {"user_id": alice, "asset": "USDT", "amount": "5"}
    accepted(await outside.admin.post("/v1/deposits", body, key))
    head = await outside.admin.head()
    answer = await outside.admin.post("/v1/deposits", {**body, **OTHERS[other]}, key)
    refused(answer, 422, "idempotency_key_reused")
    assert await outside.admin.head() == head


async def test_another_path_under_the_key_is_refused(outside: Outside) -> None:
    alice = outside.new_user("alice")
    accepted(await outside.admin.deposit(alice, "5", key="path"))
    refused(await outside.admin.withdraw(alice, "5", key="path"), 422, "idempotency_key_reused")


async def test_the_scope_of_a_key_is_its_principal(outside: Outside) -> None:
    alice = outside.new_user("alice")
    by_ada = accepted(await outside.admin.deposit(alice, "5", key="scope"))
    by_root = accepted(await outside.root.deposit(alice, "6", key="scope"))
    by_alice = accepted(await outside.caller(alice).withdraw("me", "1", key="scope"))
    identities = {body["transaction_id"] for body in (by_ada, by_root, by_alice)}
    assert len(identities) == 3


async def test_a_refusal_is_not_remembered(outside: Outside) -> None:
    alice = outside.new_user("alice")
    accepted(await outside.admin.deposit(alice, "1"))
    refused(await outside.admin.withdraw(alice, "5", key="later"), 422, "insufficient_funds")
    accepted(await outside.admin.deposit(alice, "4"))
    done = await outside.admin.withdraw(alice, "5", key="later")
    accepted(done)
    assert not _replayed(done)
    again = await outside.admin.withdraw(alice, "5", key="later")
    assert accepted(again) == accepted(done) and _replayed(again)


async def test_a_replay_is_looked_up_before_the_account_is_checked(outside: Outside) -> None:
    alice = outside.new_user("alice")
    first = accepted(await outside.admin.deposit(alice, "5", key=f"frozen-{alice}"))
    accepted(
        await outside.root.patch(f"/v1/admin/accounts/main/{alice}/USDT", {"status": "frozen"})
    )
    refused(await outside.admin.deposit(alice, "5"), 409, "account_frozen")
    again = await outside.admin.deposit(alice, "5", key=f"frozen-{alice}")
    assert accepted(again) == first and _replayed(again)


async def test_items_of_a_batch_have_keys_of_their_own(outside: Outside) -> None:
    alice, bob = outside.new_user("alice"), outside.new_user("bob")
    items: list[Json] = [
        {"operation": "deposit", "user_id": alice, "asset": "USDT", "amount": "5"},
        {"operation": "withdrawal", "user_id": bob, "asset": "USDT", "amount": "3"},
        {
            "operation": "transfer",
            "from_user": alice,
            "to_user": bob,
            "asset": "USDT",
            "amount": "2",
        },
    ]
    first = await outside.admin.batch(items, key="batch")
    assert first.status_code == 200 and not _replayed(first)
    one, two, three = first.json()["results"]
    check_accepted(one)
    check_accepted(three)
    assert two["status"] == 422
    check_problem(two["problem"], 422, "insufficient_funds")

    second = await outside.admin.batch(items, key="batch")
    results = second.json()["results"]
    assert results[0] == one and results[2] == three
    assert results[1]["status"] == 422, "bob has 2"
    assert not _replayed(second)

    accepted(await outside.admin.deposit(bob, "1"))
    third = await outside.admin.batch(items, key="batch")
    assert [result["status"] for result in third.json()["results"]] == [201, 201, 201]
    assert third.json()["results"][0] == one
    fourth = await outside.admin.batch(items, key="batch")
    assert fourth.json() == third.json() and _replayed(fourth)

    # The batch's key, and what its items' keys look like, are free for single requests.
    for key in ("batch", "batch/0"):
        single = await outside.admin.deposit(alice, "9", key=key)
        accepted(single)
        assert not _replayed(single)


async def test_an_atomic_batch_replays_whole(outside: Outside) -> None:
    alice, bob = outside.new_user("alice"), outside.new_user("bob")
    deposit = {"operation": "deposit", "user_id": alice, "asset": "USDT", "amount": "5"}
    short = {"operation": "withdrawal", "user_id": bob, "asset": "USDT", "amount": "1"}
    head = await outside.admin.head()
    answer = await outside.admin.batch([deposit, deposit, short], atomic=True, key="atomic")
    problem = refused(answer, 422, "insufficient_funds")
    assert problem["item"] == 2
    assert await outside.admin.head() == head
    assert await outside.admin.balances(alice) == {}

    accepted(await outside.admin.deposit(bob, "1"))
    done = await outside.admin.batch([deposit, deposit, short], atomic=True, key="atomic")
    assert done.status_code == 200
    positions = [result["position"] for result in done.json()["results"]]
    assert positions == [head + 2, head + 3, head + 4]
    again = await outside.admin.batch([deposit, deposit, short], atomic=True, key="atomic")
    assert again.json() == done.json() and _replayed(again)


async def test_every_change_takes_a_key(outside: Outside) -> None:
    alice = outside.new_user("alice")
    book = await outside.new_book(side="debit", accounts="open")
    accepted(await outside.admin.deposit(alice, "5"))
    shares = [{"user_id": alice, "weight": 1}, {"user_id": "other", "weight": 2}]
    money = {"user_id": alice, "asset": "USDT"}
    requests: list[tuple[str, Json]] = [
        ("/v1/charges", {**money, "amount": "1", "service_type": "vps"}),
        ("/v1/recharges", {**money, "amount": "1"}),
        ("/v1/adjustments", {**money, "amount": "-1", "description": "counted"}),
        ("/v1/adjustments", {**money, "new_balance": "9", "description": "counted"}),
        ("/v1/payments", {**money, "book": book, "amount": "1"}),
        ("/v1/shared-charges", {"book": book, "asset": "EUR", "amount": "10", "shares": shares}),
        ("/v1/admin/accounts", {"book": "main", "user_id": alice, "asset": "COIN"}),
    ]
    for number, (path, body) in enumerate(requests):
        first = await outside.root.post(path, body, f"each-{alice}-{number}")
        again = await outside.root.post(path, body, f"each-{alice}-{number}")
        assert accepted(again) == accepted(first)
        assert _replayed(again) and not _replayed(first)
    patch: Any = (f"/v1/admin/accounts/main/{alice}/COIN", {"floor": "-3"}, f"patch-{alice}")
    first, again = await outside.root.patch(*patch), await outside.root.patch(*patch)
    assert accepted(again) == accepted(first) and _replayed(again)


async def test_replays_survive_a_restart_and_a_crash(
    server: StartServer, go_outside: Go, database_url: str
) -> None:
    running = await server(database_url=database_url, env=FAST)
    outside = await go_outside(running)
    first = accepted(await outside.admin.deposit("alice", "5", key="kept"))
    batch = (
        await outside.admin.batch(
            [{"operation": "deposit", "user_id": "bob", "asset": "USDT", "amount": "1"}] * 3,
            key="kept",
        )
    ).json()
    for end in (running.terminate, running.kill9):
        await end()
        await running.restart()
        again = await outside.admin.deposit("alice", "5", key="kept")
        assert accepted(again) == first and _replayed(again)
        repeated = await outside.admin.batch(
            [{"operation": "deposit", "user_id": "bob", "asset": "USDT", "amount": "1"}] * 3,
            key="kept",
        )
        assert repeated.json() == batch and _replayed(repeated)
        refused(
            await outside.admin.deposit("alice", "6", key="kept"), 422, "idempotency_key_reused"
        )
        assert await outside.admin.head() == 4
