"""`python -m wallets`: the story of some users, and the drift of their profiles."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import click
from sqlalchemy import select
from tallywire import LedgerError

from .activity import catch_up
from .service import ASSET, TYPES, WalletService, open_wallets
from .story import PEOPLE, Person, Standing, play, standing
from .tables import activity, database_url, users

Answer = TypeVar("Answer")

_PERSON = "NAME TOP_UP GIFT REWARD BONUS WITHDRAWN GIVEN_UP LATE"


@click.group()
def wallets() -> None:
    """Wallets of DeltaCoins; DATABASE_URL, or wallets.db in this folder."""


@wallets.command()
@click.option(
    "--person",
    "people",
    type=(str, *[click.IntRange(0)] * 7),
    metavar=_PERSON,
    multiple=True,
    help="A user and whole coins, 0 for none; instead of ann, bob and cyd, and as often as wanted.",
)
def story(people: Sequence[tuple[str, int, int, int, int, int, int, int]]) -> None:
    """Play the story of new users."""
    _run(_story([Person(*each) for each in people] or PEOPLE))


async def _story(people: Sequence[Person]) -> None:
    async with open_wallets(database_url()) as service:
        _print_head()
        async for step in play(service, people):
            click.echo(step.what)
            for each in step.standings:
                click.echo(_standing(each))


def _print_head() -> None:
    click.echo(f"{'':10}{'ledger':>27}{'wallet':>18}{'profile':>18}")
    columns = ("balance", "avail.", "earned", "balance", "avail.", "balance", "earned", "events")
    click.echo(_line("", *columns))


def _standing(told: Standing) -> str:
    profile = ["-", "-"] if told.profile is None else [_coins(each) for each in told.profile]
    amounts = [_coins(each) for each in (*told.ledger, *told.wallet)]
    return _line(f"{told.user_id:>4} {told.name}", *amounts, *profile, str(told.events))


def _line(name: str, *columns: str) -> str:
    return f"{name:<10}" + "".join(f"{each:>9}" for each in columns)


def _coins(amount: Decimal) -> str:
    return f"{amount.normalize():f}"


@wallets.command()
@click.argument("user_id")
@click.argument("kind", type=click.Choice([kind.name for kind in TYPES]))
@click.argument("amount", type=click.IntRange(1))
def credit(user_id: str, kind: str, amount: int) -> None:
    """Give a user coins; task_reward and referral_bonus are earned."""
    _run(_with(lambda service: service.credit(user_id, amount, service.ledger.types[kind])))


@wallets.command()
@click.argument("user_id")
@click.argument("amount", type=click.IntRange(1))
def withdraw(user_id: str, amount: int) -> None:
    """Ask for a withdrawal, which is pending then; its id is told."""
    click.echo(_run(_with(lambda service: service.ask_withdrawal(user_id, amount))))


@wallets.command()
@click.argument("withdrawal_id")
def pay_out(withdrawal_id: str) -> None:
    """A pending withdrawal was paid."""
    _run(_with(lambda service: service.pay_out(withdrawal_id)))


@wallets.command()
@click.argument("withdrawal_id")
def cancel(withdrawal_id: str) -> None:
    """A pending withdrawal is not to be."""
    _run(_with(lambda service: service.cancel_withdrawal(withdrawal_id)))


@wallets.command()
@click.argument("name")
def find(name: str) -> None:
    """Tell the id of the newest user of that name; exit 1 where there is none."""
    found = [user_id for user_id, known in _run(_with(_users)) if known == name]
    if not found:
        raise click.ClickException(f"there is no {name}")
    click.echo(found[-1])


@wallets.command()
@click.argument("user_ids", nargs=-1)
def show(user_ids: Sequence[str]) -> None:
    """Tell how users stand, all or these."""
    _run(_show(user_ids))


async def _show(user_ids: Sequence[str]) -> None:
    async with open_wallets(database_url()) as service:
        await catch_up(service.engine, service.ledger)
        _print_head()
        for user_id, name in await _users(service):
            if not user_ids or user_id in user_ids:
                click.echo(_standing(await standing(service, user_id, name)))


@wallets.command()
def report() -> None:
    """Tell what does not say what the ledger says; exit 1 where there is any."""
    raise SystemExit(1 if _run(_report()) else 0)


async def _report() -> int:
    async with open_wallets(database_url()) as service:
        drifted = 0
        for user_id, name in await _users(service):
            for found in await service.ledger.balance_drift(user_id, asset=ASSET):
                click.echo(
                    f"{user_id:>4} {name:8} {found.what:34}{found.stored or '-':>8}"
                    f"{found.actual or '-':>8}{found.difference or '-':>8}"
                )
                drifted += 1
        return drifted


@wallets.command()
@click.option("--user-id", help="Only this user's.")
def events(user_id: str | None) -> None:
    """Tell the activity, a line for each transaction."""
    _run(_events(user_id))


async def _events(user_id: str | None) -> None:
    async with open_wallets(database_url()) as service:
        await catch_up(service.engine, service.ledger)
        rows = select(activity).order_by(activity.c.position, activity.c.user_id)
        if user_id is not None:
            rows = rows.where(activity.c.user_id == user_id)
        async with service.engine.connect() as connection:
            for row in await connection.execute(rows):
                click.echo(f"{row.position:>4} {row.user_id:>4} {row.kind:16}{row.amount:>8}")


def _run(work: Coroutine[Any, Any, Answer]) -> Answer:
    try:
        return asyncio.run(work)
    except LedgerError as refused:
        raise click.ClickException(str(refused)) from refused


async def _with(work: Callable[[WalletService], Awaitable[Answer]]) -> Answer:
    async with open_wallets(database_url()) as service:
        return await work(service)


async def _users(service: WalletService) -> list[tuple[str, str]]:
    async with service.engine.connect() as connection:
        found = await connection.execute(select(users.c.id, users.c.name).order_by(users.c.id))
        return [(str(row.id), row.name) for row in found]


if __name__ == "__main__":
    wallets(prog_name="python -m wallets")
