"""
Journeys: a real `tallywire serve`, real clients, nothing but the public contract in between.

  outside     the outside of a server that most tests share, on each database
  go_outside  the same for a server that a test started by itself: `await go_outside(running)`
  exchange    the outside of a server that tests of trading share, with whoever settles options:
              in development mode on SQLite, and on PostgreSQL with Redis and a worker of its own
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..services.forks import Forks
from ..services.postgres import PostgresServer
from ..services.redis import RedisServer
from ..services.server import SECRET, RunningServer, server_environment
from ..services.worker import RunningWorker
from .client import Caller, Screen
from .events import StreamScreen

FAST = {"TALLYWIRE_USER_RATE": "100000", "TALLYWIRE_PRICES": "pushed"}

# Made once: every client would make its own, and none uses it.
_TLS = ssl.create_default_context()

_numbers = itertools.count(1)


def open_http(base_url: str) -> httpx.AsyncClient:
    """An HTTP client with as many connections as there are requests at once."""
    return httpx.AsyncClient(
        base_url=base_url,
        timeout=60,
        # Idle connections are dropped here first, or a request could meet the server's end.
        limits=httpx.Limits(max_connections=None, keepalive_expiry=2),
        verify=_TLS,
        trust_env=False,
    )


class Outside:
    """The callers and screens of one running server."""

    def __init__(self, server: RunningServer, http: httpx.AsyncClient) -> None:
        self.server = server
        self.http = http
        self._tokens: dict[tuple[str, str], str] = {}
        self.auditor = self.caller("audit", "auditor")
        self.admin = self.caller("ada", "admin")
        self.root = self.caller("root", "superadmin")

    def token(self, user_id: str, role: str = "user") -> str:
        """A token for `user_id`; in development mode the server makes it."""
        if self.server.secret is not None:
            return self.server.token(user_id, role)
        body = {"user_id": user_id, "role": role}
        answer = httpx.post(f"{self.server.base_url}/dev/token", json=body, verify=_TLS)
        return str(answer.raise_for_status().json()["token"])

    def caller(self, user_id: str, role: str = "user") -> Caller:
        """`user_id`'s HTTP side."""
        return Caller(self.http, self.token(user_id, role), user_id)

    @asynccontextmanager
    async def admins(self, count: int) -> AsyncIterator[list[Caller]]:
        """Administrators with connections of their own: one pool of hundreds is slow."""
        async with AsyncExitStack() as stack:
            yield [
                Caller(
                    await stack.enter_async_context(open_http(self.server.base_url)),
                    self.admin.token,
                    self.admin.user_id,
                )
                for _ in range(count)
            ]

    def screen(self, user_id: str, **options: Any) -> Screen:
        """`user_id`'s screen, not open yet: `async with`."""
        return Screen(self.server.base_url, self.token(user_id), user_id=user_id, **options)

    def stream(self, user_id: str, role: str = "user", **options: Any) -> StreamScreen:
        """`user_id`'s screen over server-sent events, not open yet."""
        token = self.token(user_id, role)
        return StreamScreen(self.server.base_url, token, user_id=user_id, **options)

    def monitor(self, **options: Any) -> Screen:
        """An administrator's monitor, not open yet."""
        token = self.token("ada", "admin")
        options.setdefault("streams", ("monitor",))
        return Screen(self.server.base_url, token, user_id="ada", **options)

    def new_user(self, name: str = "user") -> str:
        """A user id that no other test has."""
        return f"{name}-{next(_numbers)}"

    async def new_book(self, name: str = "book", **settings: Any) -> str:
        """A new book with these settings."""
        book = f"{name}:{next(_numbers)}"
        settings.setdefault("side", "credit")
        answer = await self.root.put(f"/v1/admin/books/{book}", settings)
        assert answer.status_code == 200, answer.text
        return book

    async def new_asset(self, scale: int) -> str:
        """A new asset of `scale` decimals."""
        code = f"A{next(_numbers)}"
        answer = await self.root.put(f"/v1/admin/assets/{code}", {"scale": scale})
        assert answer.status_code == 200, answer.text
        return code


@contextmanager
def running_server(folder: Path, database_url: str) -> Iterator[RunningServer]:
    """A server on `database_url`, for fixtures that outlive a test and its event loop."""
    running = RunningServer(folder, server_environment(database_url, env=FAST))
    try:
        asyncio.run(running.start())
        yield running
    finally:
        running.discard()


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def shared_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of the shared server's database: a SQLite one, then a PostgreSQL one."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("_sqlite_template")
        file = tmp_path_factory.mktemp("shared") / "tallywire.db"
        shutil.copyfile(template, file)
        yield f"sqlite+aiosqlite:///{file}"
        return
    postgres: PostgresServer = request.getfixturevalue("postgres_server")
    name = postgres.create_database(request.getfixturevalue("_postgres_template"))
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def shared_server(
    shared_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """One server for all tests that leave it as they found it, once on each database."""
    with running_server(tmp_path_factory.mktemp("server"), shared_database) as running:
        yield running


@contextmanager
def _workplace(folder: Path, postgres: PostgresServer, template: str) -> Iterator[dict[str, str]]:
    """The services of a server and its worker on PostgreSQL, as environment variables."""
    redis = RedisServer(folder)
    name = postgres.create_database(template)
    try:
        redis.start()
        yield {"DATABASE_URL": postgres.url(name), "REDIS_URL": redis.url}
    finally:
        redis.stop()
        postgres.drop_database(name)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def exchange_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, forks: Forks
) -> Iterator[RunningServer]:
    """The server of `exchange`, which settles options or has a worker that does."""
    folder = tmp_path_factory.mktemp("exchange")
    with ExitStack() as stack:
        env, secret = dict(FAST), None
        url = f"sqlite+aiosqlite:///{folder}/tallywire.db"
        if request.param == "postgresql":
            postgres: PostgresServer = request.getfixturevalue("postgres_server")
            template: str = request.getfixturevalue("_postgres_template")
            env |= stack.enter_context(_workplace(folder, postgres, template))
            url, secret = env["DATABASE_URL"], SECRET
        environment = server_environment(url, secret=secret, env=env)
        running = RunningServer(folder, environment, secret=secret, forks=forks)
        stack.callback(running.discard)
        asyncio.run(running.start())
        if request.param == "postgresql":
            worker = asyncio.run(RunningWorker.start(folder, environment, forks))
            stack.callback(worker.discard)
        yield running


@pytest.fixture
async def go_outside() -> AsyncIterator[Callable[[RunningServer], Awaitable[Outside]]]:
    """`await go_outside(running)`: the outside of a server that the test started."""
    async with AsyncExitStack() as open_clients:

        async def go(running: RunningServer) -> Outside:
            http = open_http(running.base_url)
            return Outside(running, await open_clients.enter_async_context(http))

        yield go


@pytest.fixture
async def outside(
    request: pytest.FixtureRequest,
    shared_server: RunningServer,
    go_outside: Callable[[RunningServer], Awaitable[Outside]],
) -> AsyncIterator[Outside]:
    """The outside of the shared server; what it logged meanwhile comes with a failure."""
    with _logged(request, shared_server):
        yield await go_outside(shared_server)


@pytest.fixture
async def exchange(
    request: pytest.FixtureRequest,
    exchange_server: RunningServer,
    go_outside: Callable[[RunningServer], Awaitable[Outside]],
) -> AsyncIterator[Outside]:
    """The outside of the server of trading; what it logged meanwhile comes with a failure."""
    with _logged(request, exchange_server):
        yield await go_outside(exchange_server)


@contextmanager
def _logged(request: pytest.FixtureRequest, running: RunningServer) -> Iterator[None]:
    assert running.exit_code is None, "the server has ended"
    seen = len(running.log_text())
    yield
    request.node.add_report_section("call", "server", running.log_text()[seen:])
