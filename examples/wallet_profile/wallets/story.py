"""Some users from their first coin to profiles that say nothing of it, as a function of numbers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import String, cast, func, select
from sqlalchemy.exc import DBAPIError

from .activity import catch_up
from .mishaps import rename_table, restore_profiles
from .service import ADMIN_GIFT, ASSET, REFERRAL_BONUS, TASK_REWARD, TOP_UP, WalletService
from .tables import activity, profiles, wallets


@dataclass(frozen=True)
class Person:
    """
    What one user does, in whole coins; 0 leaves it out. top_up: is bought; gift: is given by an
    admin; reward, bonus: are earned by a task and a referral; withdrawn: is paid out; given_up: is
    a withdrawal that is cancelled; late: another reward, while the profiles cannot be written.
    """

    name: str
    top_up: int
    gift: int
    reward: int
    bonus: int
    withdrawn: int
    given_up: int
    late: int = 0


PEOPLE = (
    Person("ann", 200, 10, 230, 84, 50, 30, late=20),
    Person("bob", 100, 0, 180, 25, 25, 40),
    Person("cyd", 50, 9, 155, 40, 20, 5, late=5),
)


@dataclass(frozen=True)
class Standing:
    """
    What each place says of a user, in coins: the ledger its balance, what of that is available and
    what was earned; the wallet balance and available; the profile balance and earnings, None where
    it cannot be read. events: how many rows of activity there are.
    """

    user_id: str
    name: str
    ledger: tuple[Decimal, Decimal, Decimal]
    wallet: tuple[Decimal, Decimal]
    profile: tuple[Decimal, Decimal] | None
    events: int


@dataclass(frozen=True)
class Step:
    """What happened, and how each user stands then."""

    what: str
    standings: list[Standing]


async def play(service: WalletService, people: Sequence[Person] = PEOPLE) -> AsyncIterator[Step]:
    """The story of new users, a step at a time; at its end their profiles have drifted."""
    ids = {person: await service.join(person.name) for person in people}

    async def step(what: str) -> Step:
        await catch_up(service.engine, service.ledger)
        return Step(
            what,
            [await standing(service, user_id, person.name) for person, user_id in ids.items()],
        )

    for person, user_id in ids.items():
        for kind, amount in (
            (TOP_UP, person.top_up),
            (ADMIN_GIFT, person.gift),
            (TASK_REWARD, person.reward),
            (REFERRAL_BONUS, person.bonus),
        ):
            if amount:
                await service.credit(user_id, amount, kind)
    yield await step("topped up, given, earned")

    pending: list[tuple[str, bool]] = []
    for person, user_id in ids.items():
        for amount, paid in ((person.withdrawn, True), (person.given_up, False)):
            if amount:
                pending.append((await service.ask_withdrawal(user_id, amount), paid))
    yield await step("two withdrawals each are pending")
    for withdrawal_id, paid in pending:
        await (service.pay_out if paid else service.cancel_withdrawal)(withdrawal_id)
    yield await step("one is paid out, one cancelled")

    await rename_table(service.engine, "profiles", "profiles_old")
    try:
        for person, user_id in ids.items():
            if person.late:
                await service.credit(user_id, person.late, TASK_REWARD)
        yield await step("rewards, while there is no table of profiles")
    finally:
        await rename_table(service.engine, "profiles_old", "profiles")
    yield await step("the table is back")
    await service.ledger.retry_mirrors()
    yield await step("the worker has written what it could not before")

    await restore_profiles(service.engine, list(ids.values()))
    yield await step("a backup of the profiles is put back, from before")


async def standing(service: WalletService, user_id: str, name: str) -> Standing:
    """How a user stands."""
    accounts = await service.ledger.balances(user_id)
    balance, available, earned = Decimal(0), Decimal(0), Decimal(0)
    for account in accounts:
        if account["asset"] == ASSET:
            balance, available = Decimal(account["balance"]), Decimal(account["available"])
            earned = Decimal(account.get("total_earned", "0"))
    async with service.engine.connect() as connection:
        wallet = (
            await connection.execute(
                select(wallets.c.balance, wallets.c.available).where(
                    wallets.c.user_id == int(user_id)
                )
            )
        ).one()
        events = await connection.scalar(
            select(func.count()).select_from(activity).where(activity.c.user_id == user_id)
        )
    return Standing(
        user_id,
        name,
        (balance, available, earned),
        (Decimal(wallet[0]), Decimal(wallet[1])),
        await _profile(service, user_id),
        events or 0,
    )


async def _profile(service: WalletService, user_id: str) -> tuple[Decimal, Decimal] | None:
    # As text, since SQLite keeps decimals as floats.
    shown = select(
        cast(profiles.c.deltacoin_balance, String), cast(profiles.c.lifetime_earnings, String)
    ).where(profiles.c.user_id == int(user_id))
    try:
        async with service.engine.connect() as connection:
            said = (await connection.execute(shown)).one_or_none()
    except DBAPIError:
        return None
    return None if said is None else (Decimal(said[0]), Decimal(said[1]))
