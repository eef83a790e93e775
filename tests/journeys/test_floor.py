"""Many hands in one purse: the floor holds, and each refusal says what was there."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from .client import accepted, minor, refused
from .conftest import Outside


@pytest.mark.parametrize("calls", [250, pytest.param(1_000, marks=pytest.mark.long)])
async def test_exactly_as_many_withdrawals_as_the_balance_covers(
    outside: Outside, calls: int
) -> None:
    alice = outside.new_user("alice")
    accepted(await outside.admin.deposit(alice, "100", asset="USD"))
    head = await outside.admin.head()
    async with outside.screen(alice) as screen, outside.admins(25) as admins:
        answers = await asyncio.gather(
            *(admins[n % 25].withdraw(alice, "0.70", asset="USD") for n in range(calls))
        )
        assert Counter(answer.status_code for answer in answers) == {201: 142, 422: calls - 142}
        positions = sorted(
            accepted(answer)["position"] for answer in answers if answer.status_code == 201
        )
        assert positions == list(range(head + 1, head + 143))
        for answer in answers:
            if answer.status_code != 201:
                problem = refused(answer, 422, "insufficient_funds")
                assert (problem["required"], problem["available"]) == ("0.70", "0.60")

        await screen.until_shown(positions[-1])
        assert await outside.admin.head() == positions[-1]
        assert [update["position"] for update in screen.updates] == positions
        assert screen.balances[f"main/{alice}/USD"]["balance"] == "0.60"
        assert screen.balances == await outside.admin.balances(alice)


async def test_a_credit_limit_is_a_floor_below_zero(outside: Outside) -> None:
    alice = outside.new_user("alice")
    accepted(await outside.admin.deposit(alice, "10", asset="USD"))
    limit = await outside.root.patch(f"/v1/admin/accounts/main/{alice}/USD", {"floor": "-5"})
    accepted(limit)
    answers = await asyncio.gather(
        *(outside.admin.withdraw(alice, "4", asset="USD") for _ in range(20))
    )
    assert Counter(answer.status_code for answer in answers) == {201: 3, 422: 17}
    problems = [refused(a, 422, "insufficient_funds") for a in answers if a.status_code == 422]
    assert {problem["required"] for problem in problems} == {"4.00"}
    balances = await outside.admin.balances(alice)
    assert balances[f"main/{alice}/USD"]["available"] == "-2.00"
    assert balances[f"main/{alice}/USD"]["floor"] == "-5.00"


async def test_two_hands_on_either_side_of_a_transfer_never_tear_it(outside: Outside) -> None:
    alice, bob = outside.new_user("alice"), outside.new_user("bob")
    accepted(await outside.admin.deposit(alice, "50", asset="USD"))
    accepted(await outside.admin.deposit(bob, "50", asset="USD"))
    async with outside.screen(alice) as at_alice, outside.screen(bob) as at_bob:
        answers = await asyncio.gather(
            *(
                outside.admin.transfer(*pair, "20", asset="USD")
                for pair in [(alice, bob), (bob, alice), (alice, bob)] * 30
            )
        )
        done = [accepted(answer) for answer in answers if answer.status_code == 201]
        for answer in answers:
            if answer.status_code != 201:
                refused(answer, 422, "insufficient_funds")
        last = max(answer["position"] for answer in done)
        await at_alice.until_shown(last)
        await at_bob.until_shown(last)
        assert len(at_alice.updates) == len(at_bob.updates) == len(done)
        assert at_alice.balances == await outside.admin.balances(alice)
        assert at_bob.balances == await outside.admin.balances(bob)
        held = [
            minor(screen.balances[f"main/{user}/USD"]["balance"], 2)
            for screen, user in ((at_alice, alice), (at_bob, bob))
        ]
        assert sum(held) == 10_000 and all(amount >= 0 for amount in held)
