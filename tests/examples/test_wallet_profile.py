"""examples/wallet_profile: its story, with its numbers and with others; and what goes wrong."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tallywire import UnknownUser
from wallets.activity import catch_up
from wallets.service import ADMIN_GIFT, REFERRAL_BONUS, TASK_REWARD, WalletService, open_wallets
from wallets.story import PEOPLE, Person, Standing, Step, play, standing

from ..ledger.raw import held, rows

FOLDER = Path(__file__).parents[2] / "examples" / "wallet_profile"
Numbers = tuple[int | None, ...]
"""Balance, available and earned in the ledger; the profile's balance and earnings."""


@pytest.fixture
async def service(database_url: str) -> AsyncIterator[WalletService]:
    async with open_wallets(database_url) as service:
        yield service


@pytest.fixture
async def sqlite_service(sqlite_url: str) -> AsyncIterator[WalletService]:
    async with open_wallets(sqlite_url) as service:
        yield service


async def played(service: WalletService, people: tuple[Person, ...]) -> list[Step]:
    return [step async for step in play(service, people)]


def told(steps: list[Step], of: int) -> list[Numbers]:
    """What the steps say of one of the people."""
    return [numbers(step.standings[of]) for step in steps]


def numbers(each: Standing) -> Numbers:
    """How a user stands; a wallet always says what the ledger does."""
    assert each.wallet == each.ledger[:2]
    profile = (None, None) if each.profile is None else tuple(map(int, each.profile))
    return (*map(int, each.ledger), *profile)


async def stands(service: WalletService, user: str) -> Numbers:
    return numbers(await standing(service, user, "ann"))


def expected(person: Person) -> list[Numbers]:
    earned = person.reward + person.bonus
    balance = person.top_up + person.gift + earned
    pending = person.withdrawn + person.given_up
    left = balance - person.withdrawn
    late, all_earned = left + person.late, earned + person.late
    return [
        (balance, balance, earned, balance, earned),
        (balance, balance - pending, earned, balance, earned),
        (left, left, earned, left, earned),
        (late, late, all_earned, None, None),
        (late, late, all_earned, left, earned),
        (late, late, all_earned, late, all_earned),
        (late, late, all_earned, 0, 0),
    ]


def events(person: Person) -> int:
    credits_ = (person.top_up, person.gift, person.reward, person.bonus, person.late)
    return sum(map(bool, credits_)) + 2 * sum(map(bool, (person.withdrawn, person.given_up)))


async def test_the_story(service: WalletService, database_url: str) -> None:
    steps = await played(service, PEOPLE)
    for n, person in enumerate(PEOPLE):
        assert told(steps, n) == expected(person)
        assert steps[-1].standings[n].events == events(person)
    assert [each.ledger[0] for each in steps[-1].standings] == [494, 280, 239]
    for each in steps[-1].standings:
        fixed = await service.ledger.check_and_fix_balance_mismatch(each.user_id, asset="DELTACOIN")
        assert fixed == (True, each.ledger[0])
        after = await standing(service, each.user_id, each.name)
        assert after.profile == (each.ledger[0], each.ledger[2])
    assert (await service.ledger.verify())["errors"] == 0
    assert await _activity(service, database_url) == await _journal(database_url)


_coins = st.integers(0, 9) | st.integers(0, 90_000)


@settings(
    max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    people=st.lists(
        st.builds(
            Person,
            name=st.sampled_from(["ann", "É"]),
            top_up=st.integers(10_000, 20_000),
            gift=_coins,
            reward=_coins,
            bonus=_coins,
            withdrawn=st.integers(0, 5_000),
            given_up=st.integers(0, 5_000),
            late=_coins,
        ),
        min_size=1,
        max_size=3,
        unique=True,
    )
)
def test_the_story_with_other_numbers(sqlite_url: str, people: list[Person]) -> None:
    async def story() -> list[Step]:
        async with open_wallets(sqlite_url) as service:
            return await played(service, tuple(people))

    steps = asyncio.run(story())
    for n, person in enumerate(people):
        assert told(steps, n) == expected(person)
        assert steps[-1].standings[n].events == events(person)


async def test_earnings_are_what_the_marked_types_gave(sqlite_service: WalletService) -> None:
    service = sqlite_service
    user = await service.join("ann")
    for _ in range(2):
        await service.credit(user, 40, TASK_REWARD, event_id="task-7")
    bonus = await service.credit(user, 5, REFERRAL_BONUS)
    await service.credit(user, 300, ADMIN_GIFT)
    await service.take_back(bonus, "the friend was nobody")
    assert await stands(service, user) == (340, 340, 40, 340, 40)
    with pytest.raises(UnknownUser):
        await service.credit("99", 1, TASK_REWARD)
    assert [kind.name for kind in service.ledger.types.earnings()] == [
        "task_reward",
        "referral_bonus",
    ]


async def test_a_profile_that_refuses_never_refuses_the_money(
    sqlite_service: WalletService,
) -> None:
    """Its CHECK; it is written once it can be, and its other column was all the while."""
    service = sqlite_service
    user = await service.join("ann")
    await service.credit(user, 999_999, TASK_REWARD)
    await service.credit(user, 1, TASK_REWARD)
    a_million = 1_000_000
    assert await stands(service, user) == (a_million, a_million, a_million, 999_999, a_million)
    (found,) = await service.ledger.balance_drift(user, asset="DELTACOIN")
    assert (found.stored, found.actual) == ("999999", "1000000")
    await service.ledger.retry_mirrors()
    assert await stands(service, user) == (a_million, a_million, a_million, 999_999, a_million)
    await service.pay_out(await service.ask_withdrawal(user, 10))
    assert await stands(service, user) == (999_990, 999_990, a_million, 999_990, a_million)


async def test_a_profile_that_somebody_keeps_locked(
    empty_postgres_url: str,
) -> None:
    async with open_wallets(empty_postgres_url) as service:
        user = await service.join("ann")
        await service.credit(user, 7, TASK_REWARD)
        lock = f"SELECT 1 FROM profiles WHERE user_id = {user} FOR UPDATE"
        async with held(empty_postgres_url, lock):
            await service.credit(user, 4, TASK_REWARD)
            assert await stands(service, user) == (11, 11, 11, 7, 7)
        await service.ledger.retry_mirrors()
        assert await stands(service, user) == (11, 11, 11, 11, 11)


async def test_several_processes_keep_one_activity(
    service: WalletService, database_url: str
) -> None:
    user = await service.join("ann")
    async with open_wallets(database_url) as other:
        await asyncio.gather(
            *(service.credit(user, 1, TASK_REWARD) for _ in range(15)),
            *(other.credit(user, 2, REFERRAL_BONUS) for _ in range(15)),
        )
        await asyncio.gather(catch_up(service.engine, service.ledger), _caught_up(other))
    assert await _activity(service, database_url) == await _journal(database_url)


async def _caught_up(service: WalletService) -> None:
    await catch_up(service.engine, service.ledger)


async def test_a_process_that_is_killed_between_commit_and_event(postgres_url: str) -> None:
    database_url = postgres_url
    async with open_wallets(database_url) as service:
        user = await service.join("ann")
        await service.credit(user, 3, TASK_REWARD)
        await catch_up(service.engine, service.ledger)
    killed = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "wallets.mishaps", "crash", user, "11"],
        cwd=FOLDER,
        env={**os.environ, "DATABASE_URL": database_url},
        check=False,
        timeout=60,
    )
    assert killed.returncode == -signal.SIGKILL
    # The coins are there, and nothing says so yet.
    assert len(await rows(database_url, "SELECT 1 FROM transactions")) == 2
    assert len(await rows(database_url, "SELECT 1 FROM activity")) == 1
    async with open_wallets(database_url) as service:
        assert await service.ledger.get_balance(user, asset="DELTACOIN") == Decimal(14)
        assert await _activity(service, database_url) == await _journal(database_url)


async def _activity(service: WalletService, url: str) -> list[tuple[object, ...]]:
    """What is kept, once it has all."""
    await catch_up(service.engine, service.ledger)
    kept = await rows(url, "SELECT position, transaction_id, kind FROM activity ORDER BY position")
    return [tuple(row.values()) for row in kept]


async def _journal(url: str) -> list[tuple[object, ...]]:
    found = await rows(url, "SELECT position, id, type FROM transactions ORDER BY position")
    return [tuple(row.values()) for row in found]
