"""What the application does with a user's coins: all of it in the ledger, none of it here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sqlalchemy import String, cast, insert, inspect, select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from tallywire import BalanceManager, TransactionType, UnknownUser, open_ledger

from .activity import begin_activity, keep_activity
from .tables import metadata, profiles, users, wallets, with_driver

ASSET = "DELTACOIN"

# Earnings are what these say; a top-up was bought and a gift was given.
TASK_REWARD = TransactionType(name="task_reward", direction="up", counter="@house", earning=True)
REFERRAL_BONUS = TransactionType(
    name="referral_bonus", direction="up", counter="@house", earning=True
)
TOP_UP = TransactionType(name="top_up", direction="up", counter="@world", counts=True)
ADMIN_GIFT = TransactionType(name="admin_gift", direction="up", counter="@house")
TYPES = (TASK_REWARD, REFERRAL_BONUS, TOP_UP, ADMIN_GIFT)

# table, column, what of the account it shows
MIRRORS = (
    ("wallets", "balance", "balance"),
    ("wallets", "available", "available"),
    ("profiles", "deltacoin_balance", "balance"),
    ("profiles", "lifetime_earnings", "total_earned"),
)


class WalletService:
    """The users of one database, and their coins. Amounts are whole coins."""

    def __init__(self, engine: AsyncEngine, ledger: BalanceManager) -> None:
        self.engine = engine
        self.ledger = ledger

    async def join(self, name: str) -> str:
        """A new user with a wallet and a profile: the user's id."""
        async with self.engine.begin() as connection:
            made = await connection.execute(insert(users).values(name=name).returning(users.c.id))
            user_id = made.scalar_one()
            await connection.execute(insert(wallets).values(user_id=user_id))
            await connection.execute(insert(profiles).values(user_id=user_id))
        return str(user_id)

    async def credit(
        self, user_id: str, amount: int, kind: TransactionType, *, event_id: str | None = None
    ) -> str:
        """
        Give coins by one of `TYPES`: the transaction's id. event_id: the task, payment or referral,
        which is credited once, however often it is asked for. Raises UnknownUser.
        """
        await self._check_user(user_id)
        receipt = await self.ledger.update_balance(
            user_id,
            str(amount),
            kind.name,
            asset=ASSET,
            reference=event_id,
            idempotency_key=event_id,
        )
        return receipt.transaction_id

    async def take_back(self, transaction_id: str, reason: str) -> None:
        """Undo a credit; what was earned by it no longer was."""
        await self.ledger.reverse(transaction_id, reason)

    async def ask_withdrawal(self, user_id: str, amount: int) -> str:
        """
        Reserve coins until they are paid out: the withdrawal's id. They stay in the balance and are
        no longer available. Raises InsufficientFunds.
        """
        receipt = await self.ledger.place_hold(user_id, str(amount), "withdrawal", asset=ASSET)
        return receipt.transaction_id

    async def pay_out(self, withdrawal_id: str) -> None:
        """A pending withdrawal was paid: its coins are gone."""
        await self.ledger.confirm_hold(withdrawal_id)

    async def cancel_withdrawal(self, withdrawal_id: str) -> None:
        """A pending withdrawal is not to be: its coins are available again."""
        await self.ledger.void_hold(withdrawal_id)

    async def _check_user(self, user_id: str) -> None:
        async with self.engine.connect() as connection:
            known = select(users.c.id).where(cast(users.c.id, String) == user_id)
            if await connection.scalar(known) is None:
                raise UnknownUser(f"there is no user {user_id}")


@asynccontextmanager
async def open_wallets(address: str) -> AsyncIterator[WalletService]:
    """
    The application in the database at `address`; its tables and its ledger are made if need be.
    Activity is kept meanwhile.
    """
    url = with_driver(address)
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            # Once: a table that is missing later is not to be made anew, and empty.
            if not await connection.run_sync(lambda c: inspect(c).has_table(users.name)):
                await connection.run_sync(metadata.create_all)
                await begin_activity(connection)
        async with open_ledger(url) as ledger:
            await _set_up(ledger)
            keeping = asyncio.create_task(keep_activity(engine, ledger))
            try:
                yield WalletService(engine, ledger)
            finally:
                keeping.cancel()
                with suppress(asyncio.CancelledError):
                    await keeping
    finally:
        await engine.dispose()


async def _set_up(ledger: BalanceManager) -> None:
    """The coin, the types and the mirrors; once, though every process asks for them."""
    if ASSET not in ledger.catalog.assets:
        await ledger.administration.put_asset(ASSET, scale=0, actor="wallets")
    for kind in TYPES:
        ledger.register_type(kind)
    for table, column, value in MIRRORS:
        await ledger.register_mirror(
            f"{table}.{column}",
            table=table,
            column=column,
            key={"user_id": "{owner}"},
            asset=ASSET,
            value=value,
            # A row that cannot be written now is written later: it never stops the money.
            on_failure="defer",
            on_drift="overwrite",
        )
