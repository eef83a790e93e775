"""Connections to Redis that never reconnect by themselves: whoever uses one sees it fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

# Seconds that Redis may take to be reached, or for one answer.
WITHIN = 1.0


@asynccontextmanager
async def connected(url: str, name: str) -> AsyncIterator[AbstractConnection]:
    """
    One connection to the Redis at `url`, until the block ends.

    redis-py's clients reconnect and subscribe again behind their caller's back, and then nobody
    knows what was missed; its connections by themselves do not, if they are told not to.
    name: what the operator sees in CLIENT LIST. Raises RedisError, TimeoutError; ValueError on a
    URL that is none.
    """
    options: dict[str, Any] = {
        **parse_url(url),
        "client_name": name,
        "decode_responses": False,
        "health_check_interval": 0,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": WITHIN,
        "socket_keepalive": True,
        # Up to Python 3.11 asyncio.wait_for(), which it would use, may swallow a cancellation.
        "socket_timeout": None,
    }
    kind = options.pop("connection_class", Connection)
    connection: AbstractConnection = kind(**options)
    try:
        async with asyncio.timeout(WITHIN):
            await connection.connect()  # type: ignore[no-untyped-call]
        assert connection._writer is not None
        transport = connection._writer.transport
        try:
            yield connection
        finally:
            # What a frozen peer has not taken would keep the socket open for as long as it likes.
            transport.abort()
    finally:
        with suppress(RedisError):
            await connection.disconnect()


async def pipeline(connection: AbstractConnection, *commands: tuple[Any, ...]) -> list[Any]:
    """
    Send `commands` at once; their answers in order.

    Raises RedisError, TimeoutError; the connection is of no more use then.
    """
    async with asyncio.timeout(WITHIN):
        await connection.send_packed_command(connection.pack_commands(commands))
        return [await connection.read_response() for _ in commands]
