"""How many connections each user has in every process together, counted in Redis."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, deque
from itertools import islice
from typing import Any

from redis.asyncio.connection import AbstractConnection

from .. import logs
from .redis_connection import connected, pipeline

# Seconds: until the counts of a process that died are gone, between renewals, until the next
# attempt to reach Redis. A client that comes back from a dead process must not wait long.
LEASE = 3
RENEWAL = 1.0
RETRY = 0.25

PROCESSES = "tallywire:processes"
_USERS_AT_ONCE = 1_000

# One hash a process, user to count, which expires as a whole: that is its lease.
# KEYS: the set of processes, our hash. ARGV: the user, our count with the new one, the limit,
# the lease. Answers 1 where the new one may be, and then it is counted.
_ADMIT = """
local total = tonumber(ARGV[2])
for _, process in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if process ~= KEYS[2] then
    local count = redis.call('HGET', process, ARGV[1])
    if count then
      total = total + tonumber(count)
    elseif redis.call('EXISTS', process) == 0 then
      redis.call('SREM', KEYS[1], process)
    end
  end
end
if total > tonumber(ARGV[3]) then return 0 end
redis.call('SADD', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return 1
"""

_log = logs.get_logger(__name__)


class ConnectionCounts:
    """
    The limit of a user's connections across processes. While Redis is away every connection is
    admitted, and each process keeps to the limit by itself; what was admitted meanwhile is
    counted afterwards.
    """

    def __init__(self, url: str, limit: int) -> None:
        """limit: how many connections one user may have in all processes together."""
        self._url = url
        self._limit = limit
        self._key = f"tallywire:connections:{secrets.token_hex(8)}"
        self._counts: dict[str, int] = {}
        self._linked = False
        self._waiting: deque[tuple[tuple[Any, ...], asyncio.Future[Any] | None]] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to count; does not wait for Redis."""
        self._running = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Have this process's connections counted no more."""
        self._counts.clear()
        if self._running is None:
            return
        if self._linked:
            await self._ask("DEL", self._key)
        self._closing = True
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    async def admit(self, user_id: str, count: int) -> bool:
        """
        Whether the user may have one more, the `count`-th in this process. Admitted or not, it is
        counted here until `left`.
        """
        self._counts[user_id] = count
        if not self._linked:
            return True
        answer = await self._ask(
            "EVAL", _ADMIT, 2, PROCESSES, self._key, user_id, count, self._limit, LEASE
        )
        return bool(answer != 0)

    def left(self, user_id: str, count: int) -> None:
        """The user has `count` connections in this process from now on."""
        if count:
            self._counts[user_id] = count
        else:
            self._counts.pop(user_id, None)
        if self._linked:
            if count:
                self._send(("HSET", self._key, user_id, count), ("EXPIRE", self._key, LEASE))
            else:
                self._send(("HDEL", self._key, user_id))

    async def others(self) -> Counter[str]:
        """How many connections each user has in the other processes; none while Redis is away."""
        counts: Counter[str] = Counter()
        if not self._linked:
            return counts
        processes = await self._ask("SMEMBERS", PROCESSES) or []
        others = [process for process in processes if process.decode() != self._key]
        for answer in await asyncio.gather(*(self._ask("HGETALL", key) for key in others)):
            fields = answer or []
            for user_id, count in zip(fields[::2], fields[1::2], strict=True):
                counts[user_id.decode()] += int(count)
        return counts

    async def _ask(self, *command: Any) -> Any:
        """The answer to `command`; None where the link breaks first."""
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append((command, answer))
        self._wake.set()
        return await answer

    async def _run(self) -> None:
        # A task group that fails as it is cancelled raises only the failure (until Python 3.13).
        while not self._closing:
            try:
                async with connected(self._url, "tallywire-counts") as connection:
                    await self._link(connection)
            # Whatever it was: each process limits by itself meanwhile.
            except Exception as error:
                if self._linked:
                    _log.warning(
                        "connections are limited by each process alone", reason=repr(error)
                    )
            finally:
                self._break()
            if not self._closing:
                await asyncio.sleep(RETRY)

    async def _link(self, connection: AbstractConnection) -> None:
        self._linked = True
        self._count_again()
        async with asyncio.TaskGroup() as both:
            both.create_task(self._talk(connection))
            both.create_task(self._renew())

    async def _talk(self, connection: AbstractConnection) -> None:
        sent: deque[tuple[tuple[Any, ...], asyncio.Future[Any] | None]] = deque()
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                sent, self._waiting = self._waiting, deque()
                answers = await pipeline(connection, *(command for command, _ in sent))
                for (_, future), answer in zip(sent, answers, strict=True):
                    _settle(future, answer)
        finally:
            for _, future in sent:
                _settle(future, None)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEWAL)
            if self._counts and await self._ask("EXPIRE", self._key, LEASE) == 0:
                self._count_again()

    def _count_again(self) -> None:
        """Have everything counted that Redis does not know, or not any more."""
        users = iter(self._counts.items())
        commands: list[tuple[Any, ...]] = [("MULTI",), ("DEL", self._key)]
        while some := list(islice(users, _USERS_AT_ONCE)):
            commands.append(("HSET", self._key, *(part for pair in some for part in pair)))
        commands += [("SADD", PROCESSES, self._key), ("EXPIRE", self._key, LEASE), ("EXEC",)]
        self._send(*commands)

    def _send(self, *commands: tuple[Any, ...]) -> None:
        self._waiting.extend((command, None) for command in commands)
        self._wake.set()

    def _break(self) -> None:
        self._linked = False
        for _, future in self._waiting:
            _settle(future, None)
        self._waiting.clear()


def _settle(future: asyncio.Future[Any] | None, answer: Any) -> None:
    if future is not None and not future.done():
        future.set_result(answer)
