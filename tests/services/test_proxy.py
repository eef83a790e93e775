"""The proxy loses what it says it loses, and nothing else."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from .postgres import PostgresServer
from .proxy import CommitFault, PostgresProxy

_LOST = (ConnectionError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)


@pytest.fixture
async def url(
    postgres_server: PostgresServer, postgres_proxy: PostgresProxy, empty_postgres_url: str
) -> str:
    postgres_server.execute("CREATE TABLE notes (id int)", empty_postgres_url.rpartition("/")[2])
    return postgres_proxy.url(empty_postgres_url)


async def _write(connection: asyncpg.Connection) -> None:
    async with connection.transaction():
        await connection.execute("INSERT INTO notes VALUES ($1)", 1)


async def _stored(empty_postgres_url: str) -> int:
    connection = await asyncpg.connect(empty_postgres_url)
    try:
        count: int = await connection.fetchval("SELECT count(*) FROM notes")
        return count
    finally:
        await connection.close()


async def test_counts_commits_and_hands_everything_on(
    url: str, postgres_proxy: PostgresProxy, empty_postgres_url: str
) -> None:
    connection = await asyncpg.connect(url)
    await _write(connection)
    await _write(connection)
    await connection.close()
    assert (postgres_proxy.commits, await _stored(empty_postgres_url)) == (2, 2)


@pytest.mark.parametrize(
    ("fault", "stored"),
    [(CommitFault.CUT_BEFORE, 0), (CommitFault.CUT_AFTER, 1), (CommitFault.CUT_ANSWER, 1)],
)
async def test_cuts_the_connection_at_a_commit(
    fault: CommitFault,
    stored: int,
    url: str,
    postgres_proxy: PostgresProxy,
    postgres_server: PostgresServer,
    empty_postgres_url: str,
) -> None:
    connection = await asyncpg.connect(url)
    struck = postgres_proxy.at_next_commit(fault)
    with pytest.raises(_LOST):
        await _write(connection)
    assert struck.is_set()
    async with asyncio.timeout(10):
        # The backend may still be busy with what it was sent.
        while await _stored(empty_postgres_url) != stored:
            await asyncio.sleep(0.01)
    connection.terminate()


async def test_swallows_the_answer_and_stays_silent(
    url: str, postgres_proxy: PostgresProxy, empty_postgres_url: str
) -> None:
    connection = await asyncpg.connect(url)
    struck = postgres_proxy.at_next_commit(CommitFault.SWALLOW_ANSWER)
    write = asyncio.create_task(_write(connection))
    await struck.wait()
    assert await _stored(empty_postgres_url) == 1
    assert not write.done()
    postgres_proxy.cut()
    with pytest.raises(_LOST):
        await write
    connection.terminate()


async def test_a_fault_waits_for_a_transaction_that_wrote(
    url: str, postgres_proxy: PostgresProxy
) -> None:
    connection = await asyncpg.connect(url)
    struck = postgres_proxy.at_next_commit(CommitFault.CUT_AFTER)
    async with connection.transaction():
        await connection.fetchval("SELECT count(*) FROM notes")
    assert not struck.is_set()
    with pytest.raises(_LOST):
        await _write(connection)
    assert struck.is_set()
    connection.terminate()


async def test_cut_and_refuse(url: str, postgres_proxy: PostgresProxy) -> None:
    connection = await asyncpg.connect(url)
    postgres_proxy.refuse = True
    postgres_proxy.cut()
    with pytest.raises(_LOST):
        await connection.fetchval("SELECT 1")
    with pytest.raises(_LOST):
        await asyncpg.connect(url)
    postgres_proxy.refuse = False
    again = await asyncpg.connect(url)
    assert await again.fetchval("SELECT 1") == 1
    await again.close()
    connection.terminate()


async def test_pause_holds_bytes_back(url: str, postgres_proxy: PostgresProxy) -> None:
    connection = await asyncpg.connect(url)
    postgres_proxy.pause()
    answer = asyncio.create_task(connection.fetchval("SELECT 1"))
    done, _ = await asyncio.wait({answer}, timeout=0.1)
    assert not done
    postgres_proxy.resume()
    assert await answer == 1
    await connection.close()
