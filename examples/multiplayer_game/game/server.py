"""What the game does for its players: money is in the ledger, what was bought in `orders`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from uuid import uuid4

from sqlalchemy import Table, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from tallywire import BalanceManager, Wallet, open_ledger

from .tables import game_sessions, metadata, orders, player_sessions, with_driver

_BOOK = "game:{game}"
_INSERT: dict[str, Callable[[Table], postgresql.Insert | sqlite.Insert]] = {
    "postgresql": postgresql.insert,
    "sqlite": sqlite.insert,
}


@dataclass(frozen=True)
class Session:
    """A player in a game. balance: dollars."""

    game_id: str
    player_id: str
    balance: Decimal


class GameServer:
    """The games of one database."""

    def __init__(self, engine: AsyncEngine, ledger: BalanceManager) -> None:
        self.engine = engine
        self.ledger = ledger

    async def create_game(self, game_id: str | None = None) -> str:
        """A new game: its id, a UUID, and a book of its own in the ledger."""
        game_id = game_id or str(uuid4())
        await self.ledger.administration.put_book(_book(game_id), {}, actor="game")
        return game_id

    async def join(self, game_id: str, player_id: str) -> Session:
        """
        A player enters a game, once or again. Whoever has money there already, from before there
        was a session, finds it in both tables.
        """
        await self._add_row(player_sessions, game_id, player_id)
        await self._add_row(game_sessions, game_id, player_id)
        return await self.session(game_id, player_id)

    async def session(self, game_id: str, player_id: str) -> Session:
        """The session as it is now: what old code wrote since is booked first."""
        wallet = self.wallet(game_id, player_id)
        await wallet.sync()
        return Session(game_id, player_id, await wallet.get_balance())

    async def procure(
        self, game_id: str, player_id: str, item: str, cost: str, *, order_id: str | None = None
    ) -> str:
        """
        Buy `item` for `cost` dollars: the order and its payment, or neither. The same order again
        is one order. Raises what the ledger refuses, such as InsufficientFunds.
        """
        order_id = order_id or str(uuid4())
        await self.wallet(game_id, player_id).subtract_from_balance(
            cost,
            reason="procurement_order",
            reference=order_id,
            actor=player_id,
            idempotency_key=order_id,
            alongside=[
                insert(orders).values(
                    id=order_id,
                    game_id=game_id,
                    player_id=player_id,
                    item=item,
                    cost_cents=int(Decimal(cost).scaleb(2)),
                )
            ],
        )
        return order_id

    async def sell(
        self, game_id: str, player_id: str, proceeds: str, *, sale_id: str | None = None
    ) -> None:
        """Book the `proceeds` (dollars) of a sale; the same sale again is one sale."""
        await self.wallet(game_id, player_id).add_to_balance(
            proceeds, reason="sales", reference=sale_id, actor=player_id, idempotency_key=sale_id
        )

    async def set_balance(self, game_id: str, player_id: str, balance: str, reason: str) -> None:
        """Give a player exactly `balance` dollars."""
        await self.wallet(game_id, player_id).set_balance(balance, reason)

    async def check(self, game_id: str, player_id: str) -> tuple[bool, Decimal]:
        """Whether a player's balance was not the same everywhere, and what it is now that it is."""
        return await self.wallet(game_id, player_id).check_and_fix_balance_mismatch()

    def wallet(self, game_id: str, player_id: str) -> Wallet:
        """A player's money in one game."""
        return self.ledger.wallet(player_id, asset="USD", book=_book(game_id))

    async def _add_row(self, table: Table, game_id: str, player_id: str) -> None:
        row = _INSERT[self.engine.dialect.name](table).values(game_id=game_id, player_id=player_id)
        async with self.engine.begin() as connection:
            await connection.execute(row.on_conflict_do_nothing())


@asynccontextmanager
async def open_games(address: str) -> AsyncIterator[GameServer]:
    """The games in the database at `address`; its tables and its ledger are made if need be."""
    url = with_driver(address)
    async with open_ledger(url) as ledger:
        engine = create_async_engine(url)
        try:
            async with engine.begin() as connection:
                await connection.run_sync(metadata.create_all)
            await _register_mirrors(ledger)
            yield GameServer(engine, ledger)
        finally:
            await engine.dispose()


async def _register_mirrors(ledger: BalanceManager) -> None:
    """Both tables follow the ledger. Old code writes to the one, so what it says there counts."""
    for table, on_drift in ((player_sessions, "overwrite"), (game_sessions, "adopt")):
        await ledger.register_mirror(
            table.name,
            table=table.name,
            column="balance",
            key={"game_id": "{game}", "player_id": "{owner}"},
            book=_BOOK,
            asset="USD",
            on_drift=on_drift,
        )


def _book(game_id: str) -> str:
    return _BOOK.format(game=game_id)
