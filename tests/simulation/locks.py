"""Row locks as PostgreSQL has them: until the transaction ends; who came first has them next."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

LOCK_TIMEOUT = 4.0
DEADLOCK_TIMEOUT = 1.0
CLOCK = "clock"


class LockTimeout(Exception):
    """Another transaction holds the row for too long."""


class Deadlock(Exception):
    """Two transactions wait for each other."""


@dataclass(eq=False)
class _Row:
    holder: int
    waiting: deque[tuple[int, asyncio.Future[None]]] = field(default_factory=deque)


class Locks:
    """Who holds which row, by session number."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}
        self._waits_for: dict[int, str] = {}

    async def take(self, session: int, row: str) -> bool:
        """
        Lock `row` for `session`, waiting while another holds it; whether it waited. Raises
        LockTimeout, Deadlock.
        """
        held = self._rows.get(row)
        if held is None:
            self._rows[row] = _Row(session)
            return False
        if held.holder == session:
            return False
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        held.waiting.append((session, turn))
        self._waits_for[session] = row
        watch = loop.call_later(DEADLOCK_TIMEOUT, self._look_for_deadlock, session, turn)
        try:
            async with asyncio.timeout(LOCK_TIMEOUT):
                await turn
        except TimeoutError:
            raise LockTimeout(row) from None
        finally:
            watch.cancel()
            self._waits_for.pop(session, None)
            held.waiting = deque(entry for entry in held.waiting if entry[1] is not turn)
        return True

    def take_if_free(self, session: int, row: str) -> bool:
        """Lock `row` for `session` unless another holds it; whether `session` has it now."""
        held = self._rows.setdefault(row, _Row(session))
        return held.holder == session

    def held_by(self, session: int) -> frozenset[str]:
        """The rows that `session` has locked."""
        return frozenset(name for name, row in self._rows.items() if row.holder == session)

    def release(self, session: int, but: frozenset[str] = frozenset()) -> None:
        """
        The transaction of `session` has ended, or is back at a savepoint at which it had locked
        `but`: its rows go to whoever waits first.
        """
        for name, row in list(self._rows.items()):
            if row.holder != session or name in but:
                continue
            while row.waiting:
                next_session, turn = row.waiting.popleft()
                if not turn.done():
                    row.holder = next_session
                    turn.set_result(None)
                    break
            else:
                del self._rows[name]

    def would_wait_behind(self, session: int, row: str, held: str) -> bool:
        """Whether `session`, holding the row `held`, would have to wait for `row`."""
        wanted, own = self._rows.get(row), self._rows.get(held)
        waits = wanted is not None and wanted.holder != session
        return waits and own is not None and own.holder == session

    def _look_for_deadlock(self, session: int, turn: asyncio.Future[None]) -> None:
        seen: set[int] = set()
        waiting = session
        while waiting in self._waits_for and waiting not in seen:
            seen.add(waiting)
            waiting = self._rows[self._waits_for[waiting]].holder
        if waiting == session and not turn.done():
            turn.set_exception(Deadlock(self._waits_for[session]))
