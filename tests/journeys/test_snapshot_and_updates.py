"""A screen starts with a snapshot and follows by number: SCREEN=LEDGER."""

from __future__ import annotations

from decimal import Decimal

from .client import Accounts, accepted, account_name, check_update, update_of
from .conftest import Outside


async def test_a_user_sees_the_snapshot_then_every_change(outside: Outside) -> None:
    alice = outside.new_user("alice")
    accepted(await outside.admin.deposit(alice, "10000"))
    accepted(await outside.admin.deposit(alice, "0.00000001", asset="BTC"))
    async with outside.screen(alice) as screen:
        assert screen.balances == await outside.admin.balances(alice)
        assert {name.rpartition("/")[2] for name in screen.balances} == {"USDT", "BTC"}
        assert screen.init is not None and screen.init["reason"] == "connect"
        assert screen.init["control"] is None

        answers = [
            accepted(
                await outside.admin.deposit(
                    alice,
                    "500.25",
                    description="Bank deposit",
                    reference="wire-7",
                    metadata={"via": "bank"},
                    internal={"officer": 12},
                )
            ),
            accepted(await outside.caller(alice).withdraw("me", "440.25")),
            accepted(await outside.admin.deposit(alice, "2", asset="ETH")),
        ]
        await screen.until_shown(answers[-1]["position"])
        for answer, pushed in zip(answers, screen.updates, strict=True):
            assert [update_of(update) for update in answer["updates"]] == [pushed]
        deposit = screen.updates[0]
        assert deposit["description"] == "Bank deposit"
        assert deposit["reference"] == "wire-7"
        assert deposit["metadata"] == {"via": "bank"}
        assert [update["change_type"] for update in screen.updates] == [
            "deposit",
            "withdrawal",
            "deposit",
        ]
        usdt = screen.balances[f"main/{alice}/USDT"]
        assert usdt["balance"] == usdt["available"] == "10060.000000"
        assert (usdt["total_in"], usdt["total_out"]) == ("10500.250000", "440.250000")
        assert (usdt["floor"], usdt["seq"], usdt["side"]) == ("0.000000", 3, "credit")
        assert screen.balances == await outside.admin.balances(alice)
        assert screen.balances == await outside.caller(alice).balances("me")


async def test_the_answer_to_an_admin_has_the_admin_fields_and_a_users_has_not(
    outside: Outside,
) -> None:
    alice = outside.new_user("alice")
    answer = accepted(await outside.admin.deposit(alice, "5", key="k 1", internal="seen by staff"))
    (update,) = answer["updates"]
    assert update["internal"] == "seen by staff"
    assert (update["actor"], update["actor_role"]) == ("ada", "admin")
    assert update["idempotency_key"] == "k 1"
    own = accepted(await outside.caller(alice).withdraw("me", "1"))
    assert not {"internal", "actor", "actor_role", "idempotency_key"} & set(own["updates"][0])


async def test_both_users_of_a_transfer_see_their_own_leg_alone(outside: Outside) -> None:
    alice, bob = outside.new_user("alice"), outside.new_user("bob")
    accepted(await outside.admin.deposit(alice, "100"))
    async with (
        outside.screen(alice) as at_alice,
        outside.screen(bob) as at_bob,
        outside.monitor() as monitor,
    ):
        assert at_bob.balances == {}
        sent = accepted(await outside.caller(alice).transfer("me", bob, "30.5", description="rent"))
        by_admin = accepted(await outside.admin.transfer(bob, alice, "0.5"))

        await at_alice.until_shown(by_admin["position"])
        await at_bob.until_shown(by_admin["position"])
        await monitor.until_position(by_admin["position"])

        assert [update["user_id"] for update in sent["updates"]] == [alice]
        assert [update_of(sent["updates"][0])] == at_alice.updates[:1]
        assert sorted([alice, bob]) == [update["user_id"] for update in by_admin["updates"]]
        to_alice, to_bob = (update_of(update) for update in by_admin["updates"])
        assert at_alice.updates[1] == to_alice and at_bob.updates[1] == to_bob
        assert monitor.monitored[-2:] == by_admin["updates"]
        assert [update_of(update) for update in monitor.monitored[:2]] == [
            at_alice.updates[0],
            at_bob.updates[0],
        ]
        for screen, user, balance in ((at_alice, alice, "70.000000"), (at_bob, bob, "30.000000")):
            assert screen.balances == await outside.admin.balances(user)
            assert screen.balances[f"main/{user}/USDT"]["balance"] == balance
            totals = screen.balances[f"main/{user}/USDT"]
            assert totals["total_out"] == "0.000000"
        assert at_alice.balances[f"main/{alice}/USDT"]["total_in"] == "100.000000"
        assert at_bob.balances[f"main/{bob}/USDT"]["total_in"] == "0.000000"


async def test_the_monitor_starts_with_the_totals_and_the_newest_updates(
    outside: Outside,
) -> None:
    alice = outside.new_user("alice")
    for _ in range(3):
        last = accepted(await outside.admin.deposit(alice, "1"))
    async with outside.monitor() as monitor, outside.screen(alice):
        init = monitor.monitor_init
        assert init is not None
        assert init["position"] == last["position"]
        assert init["recent"][0] == last["updates"][0]
        trial = (await outside.auditor.get("/v1/admin/trial-balance")).json()
        assert trial["position"] == last["position"]
        assert all(Decimal(total) == 0 for total in trial["sums"].values())
        users = {
            (row["book"], row["asset"]): row["balance"]
            for row in trial["rows"]
            if row["owner_kind"] == "user"
        }
        totals = {(row["book"], row["asset"]): row["balance"] for row in init["totals"]}
        assert totals == users

    async with outside.monitor() as second:
        assert second.monitor_init is not None
        assert second.monitor_init["connected"]["connections"] >= 1


async def test_balances_and_monitor_on_one_connection(outside: Outside) -> None:
    async with outside.monitor(streams=("monitor", "balances")) as both:
        assert [init["type"] for init in both.inits] == ["user_balance_init", "admin_monitor_init"]
        assert len({init["position"] for init in both.inits}) == 1
        for _ in range(20):
            accepted(await outside.admin.deposit("ada", "1"))
            last = accepted(await outside.admin.deposit(outside.new_user(), "1"))
        await both.until_position(last["position"])
        assert len(both.updates) == 20
        assert both.balances == await outside.admin.balances("ada")


async def test_mode_latest_arrives_at_the_same_balances(outside: Outside) -> None:
    alice = outside.new_user("alice")
    async with outside.screen(alice, mode="latest") as latest, outside.screen(alice) as every:
        items = [
            {"operation": "deposit", "user_id": alice, "asset": asset, "amount": "1"}
            for _ in range(100)
            for asset in ("USDT", "USD")
        ]
        answer = await outside.admin.batch(items)
        last = answer.json()["results"][-1]["position"]
        await latest.until_position(last)
        await every.until_position(last)
        assert len(every.updates) == 200
        assert 1 <= len(latest.latest) <= 200
        assert latest.balances == every.balances == await outside.admin.balances(alice)


async def test_an_owner_with_unusual_characters_is_the_same_everywhere(outside: Outside) -> None:
    owner = f"auth0|zürich/1~{outside.new_user()} %2F"
    async with outside.screen(owner) as screen:
        answer = accepted(await outside.admin.deposit(owner, "7", asset="COIN"))
        await screen.until_shown(answer["position"])
        name = account_name("main", owner, "COIN")
        assert list(screen.balances) == [name]
        assert screen.balances == await outside.admin.balances(owner)
        history = [item async for item in outside.caller(owner).listed("/v1/users/me/history")]
        assert [item["transaction_id"] for item in history] == [answer["transaction_id"]]


async def test_the_whole_history_recomputes_to_the_balances(outside: Outside) -> None:
    alice, bob = outside.new_user("alice"), outside.new_user("bob")
    head = await outside.admin.head()
    after = {}
    for number in range(1, 8):
        deposit = accepted(await outside.admin.deposit(alice, f"{number}.5"))
        after[deposit["position"]] = await outside.admin.balances(alice)
        moved = accepted(await outside.admin.transfer(alice, bob, "0.25"))
        after[moved["position"]] = await outside.admin.balances(alice)

    caller = outside.caller(alice)
    items = [item async for item in caller.listed("/v1/users/me/history", limit=3)]
    positions = [item["position"] for item in items]
    assert positions == sorted(after, reverse=True)
    accounts = Accounts()
    for update in reversed(items):
        check_update(update)
        accounts.follow(update, complete=True)
        assert accounts.shown == after[update["position"]]
        as_of = await caller.balances("me", as_of_position=update["position"])
        assert as_of == after[update["position"]]
        at_time = await caller.balances("me", as_of_time=update["timestamp"])
        assert at_time == as_of
    assert await caller.balances("me", as_of_position=head) == {}


async def test_a_transaction_is_seen_by_its_users_and_whole_by_auditors(outside: Outside) -> None:
    alice, bob = outside.new_user("alice"), outside.new_user("bob")
    accepted(await outside.admin.deposit(alice, "10"))
    answer = accepted(await outside.admin.transfer(alice, bob, "4", internal={"case": 9}))
    path = f"/v1/transactions/{answer['transaction_id']}"
    whole = (await outside.auditor.get(path)).json()
    assert whole["internal"] == {"case": 9} and whole["actor"] == "ada"
    assert whole["reversed_by"] is None
    postings = {posting["account"]: posting["amount"] for posting in whole["postings"]}
    assert postings == {f"main/{alice}/USDT": "-4.000000", f"main/{bob}/USDT": "4.000000"}
    for update in answer["updates"]:
        seen = (await outside.caller(update["user_id"]).get(path)).json()
        assert seen == update_of(update)
