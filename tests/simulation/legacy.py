"""Older programs that still write the mirrored columns themselves, behind the ledger's back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from .asked import SCALES, USERS
from .clocks import JumpingClock
from .database import DatabaseError, SimulatedPostgres
from .faults import Faults
from .loop import Process, SimulatedLoop
from .trace import Trace

# The column of each asset's table is its mirror in the book `main`.
TABLES = {"USDT": "usdt_wallets", "COIN": "coin_wallets"}
# The mirror whose row refuses a change that cannot be written to it.
ABORTING = "USDT"


class Wallets:
    """What older programs did to the mirrored rows, and the ledger has not booked yet."""

    def __init__(self) -> None:
        self.outstanding: dict[tuple[str, str], int] = {}
        # By row: how many programs want or have it now, and until when the last one did.
        self._wanted: dict[tuple[str, str], int] = {}
        self._let_go: dict[tuple[str, str], float] = {}

    def changed(self, user: str, asset: str, amount: int) -> None:
        """An older program has committed a change by `amount`, in minor units."""
        self.outstanding[user, asset] = self.outstanding.get((user, asset), 0) + amount

    @contextmanager
    def locked(self, user: str, asset: str) -> Iterator[None]:
        """An older program wants to lock the row, or has it locked."""
        row = user, asset
        self._wanted[row] = self._wanted.get(row, 0) + 1
        try:
            yield
        finally:
            self._wanted[row] -= 1
            self._let_go[row] = asyncio.get_running_loop().time()

    def was_locked(self, user: str, asset: str, since: float) -> bool:
        """Whether an older program may have had the row locked after that time of the loop."""
        row = user, asset
        return self._wanted.get(row, 0) > 0 or self._let_go.get(row, -1.0) >= since


class OlderProgram:
    """Adds to rows, some of which it keeps locked for a while, and at times changes its mind."""

    def __init__(
        self,
        loop: SimulatedLoop,
        name: str,
        database: SimulatedPostgres,
        wallets: Wallets,
        faults: Faults,
        trace: Trace,
        until: float,
    ) -> None:
        self.process = Process(loop, name)
        self._database = database
        self._wallets = wallets
        self._faults = faults
        self._trace = trace
        self._until = until
        self.task = self.process.start(self._run())

    async def _run(self) -> None:
        while asyncio.get_running_loop().time() < self._until:
            await asyncio.sleep(self._faults.between(0.0, 1.5))
            await self._change()

    async def _change(self) -> None:
        random = self._faults.random
        user, asset = random.choice(USERS), random.choice(list(TABLES))
        amount = random.choice((1, 1, -1)) * random.randint(1, 100 * 10 ** SCALES[asset])
        busy = random.choice((0.0, 0.01, 0.1, 2.5))
        session = self._database.connect(self.process.name, JumpingClock(0.0))
        statement = f"UPDATE {TABLES[asset]} SET balance = balance + ? WHERE id = ?"
        try:
            with self._wallets.locked(user, asset):
                await self._database.execute(session, statement, (amount, user), many=False)
                await asyncio.sleep(busy)
                if random.random() < 0.2:
                    await self._database.rollback(session)
                    return
                await self._database.commit(session)
                self._wallets.changed(user, asset, amount)
                self._trace.note(self.process.name, f"adds {amount} to {user}'s {asset}")
        except DatabaseError as error:
            self._trace.note(self.process.name, f"gives up on {user}'s {asset}: {error}")
        finally:
            self._database.end(session)
