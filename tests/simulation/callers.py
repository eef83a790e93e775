"""Programs that ask for changes, and ask again under the same key where they must."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from tallywire.ledger import LedgerError

from .asked import USERS, Asked, Requests
from .faults import Faults
from .loop import Process, SimulatedLoop
from .server import Answer, Server, ServerGone

PATIENCE = 30.0
AGAIN = ("overloaded", "outcome_unknown", "database_unavailable", "mirror_busy")


class Caller:
    """One program."""

    def __init__(
        self,
        loop: SimulatedLoop,
        name: str,
        requests: Requests,
        pick: Callable[[], Server | None],
        faults: Faults,
        until: float,
    ) -> None:
        self.process = Process(loop, name)
        self._requests = requests
        self._pick = pick
        self._faults = faults
        self._until = until
        self._earlier: list[Asked] = []
        self.task = self.process.start(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < self._until:
            await asyncio.sleep(self._faults.between(0.0, 1.0))
            if self._faults.random.random() < 0.05:
                await self._look()
            if self._faults.random.random() < 0.1:
                # A program in a hurry does not wait for one before the next.
                together = [self._requests.next() for _ in range(4)]
                await asyncio.gather(*(self._have(asked) for asked in together))
            elif self._earlier and self._faults.random.random() < 0.1:
                await self._have(self._faults.random.choice(self._earlier))
            else:
                await self._have(self._next())

    def _next(self) -> Asked:
        asked = self._requests.next()
        if asked.key is not None and self._earlier and self._faults.random.random() < 0.05:
            other = self._faults.random.choice(self._earlier)
            return Asked(asked.items, asked.mode, other.key)
        if asked.key is not None:
            self._earlier.append(asked)
        return asked

    async def _have(self, asked: Asked) -> None:
        """Ask until there is an answer, where the key makes that safe."""
        while True:
            answer = await self._ask_impatiently(asked)
            if asked.key is None or (answer is not None and not _is_to_be_repeated(answer)):
                return
            await asyncio.sleep(self._faults.between(0.05, 1.0))

    async def _ask_impatiently(self, asked: Asked) -> Answer | None:
        """Ask; at times, where the key makes that safe, ask two servers at once."""
        if asked.key is None or self._faults.random.random() > 0.1:
            return await self._ask(asked)
        answers = await asyncio.gather(self._ask(asked), self._ask(asked))
        return next((a for a in answers if a is not None and not _is_to_be_repeated(a)), None)

    async def _ask(self, asked: Asked) -> Answer | None:
        server = self._pick()
        if server is None:
            return None
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await server.ask(asked, self.process)
        except (ServerGone, TimeoutError):
            return None
        self._requests.learn(asked, answer)
        return answer

    async def _look(self) -> None:
        """Read somebody's holds."""
        server, user = self._pick(), self._faults.random.choice(USERS)
        if server is None:
            return
        with suppress(ServerGone, TimeoutError, LedgerError):
            async with asyncio.timeout(PATIENCE):
                self._requests.read(await server.holds(user, self.process))


def _is_to_be_repeated(answer: Answer) -> bool:
    return any(isinstance(told, LedgerError) and told.code in AGAIN for told in answer)
