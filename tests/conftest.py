"""
Fixtures on real services. A service that cannot be had fails the test; nothing is skipped.

Databases, fresh for each test, dropped afterwards:
  sqlite_url, postgres_url    the schema is in place, as after `tallywire upgrade`
  database_url                the test runs once on each of the two
  empty_sqlite_url, empty_postgres_url, empty_database_url    nothing in them
  postgres_server             the run's one PostgreSQL (tests/services/postgres.py); do not stop it
  durable_postgres            one of the test's own, which flushes to disk; kill it as you like
Redis:
  redis_server                one of the test's own (tests/services/redis.py); kill it as you like
Processes, forked from one that has imported everything (tests/services/forks.py):
  server                      `running = await server(database_url=...)` (tests/services/server.py)
  tallywire                   `tallywire("verify", "--json", database_url=...)` runs the command
  worker                      `running = await worker(database_url)` is a `tallywire worker`
Others:
  postgres_proxy              loses connections and COMMITs on demand (tests/services/proxy.py)
  browser                     the run's headless Chromium under Playwright's async API
"""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from .services.chromium import FLAGS, find_chromium
from .services.forks import Forks
from .services.postgres import PostgresServer
from .services.proxy import PostgresProxy
from .services.redis import RedisServer
from .services.server import SECRET, RunningServer, server_environment
from .services.worker import RunningWorker

# Handed out first, or the run would end with one process at one of them.
_LONG = tuple(
    f"tests/{each}/"
    for each in ("simulation", "stateful", "journeys", "examples", "docs", "browser")
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long comes first; otherwise the order stays."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONG))


def pytest_collection_finish() -> None:
    """The search for cycles as in `tallywire` itself, and not through thousands of tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c() -> None:
    """A run in the background ignores SIGINT, and so would every process that it starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def service_folder() -> Iterator[Path]:
    """
    A folder that other accounts may enter, unlike pytest's own: PostgreSQL's data is there.

    Where there is room it is in memory: a new database is 300 files, and ten times dearer on disk.
    """
    memory = Path("/dev/shm")  # noqa: S108
    for left in memory.glob("tallywire-tests-*"):
        if not Path("/proc", left.name.split("-")[2]).exists():
            # Of a run that was killed.
            shutil.rmtree(left, ignore_errors=True)
    prefix = f"tallywire-tests-{os.getpid()}-"
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=memory if _is_roomy(memory) else None))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def _is_roomy(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    system = os.statvfs(folder)
    return system.f_bavail * system.f_frsize >= 4 << 30 and not system.f_flag & os.ST_NOEXEC


@pytest.fixture(scope="session")
def postgres_server(service_folder: Path) -> Iterator[PostgresServer]:
    """The run's PostgreSQL: it flushes nothing to disk, else as in production."""
    folder = service_folder / "postgres"
    folder.mkdir()
    server = PostgresServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def durable_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL for this test alone, on disk and flushing; `create_database()` in it."""
    folder = Path(tempfile.mkdtemp(prefix="tallywire-durable-"))
    server = PostgresServer(folder, fsync=True)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis for this test alone, running."""
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """What servers and commands of the run are forked from (tests/services/forks.py)."""
    with Forks(server_environment("sqlite://")) as forks:
        yield forks


@pytest.fixture(scope="session")
def _postgres_template(postgres_server: PostgresServer, forks: Forks) -> str:
    name = postgres_server.create_database()
    _upgrade(postgres_server.url(name), forks)
    return name


@pytest.fixture(scope="session")
def _sqlite_template(service_folder: Path, forks: Forks) -> Path:
    file = service_folder / "template.db"
    _upgrade(f"sqlite+aiosqlite:///{file}", forks)
    return file


def _upgrade(url: str, forks: Forks) -> None:
    done = forks.run(["upgrade"], server_environment(url), Path.cwd())
    if done.returncode != 0:
        raise RuntimeError(f"tallywire upgrade failed:\n{done.stdout}{done.stderr}")


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, _postgres_template: str) -> Iterator[str]:
    """A fresh PostgreSQL database, schema in place."""
    name = postgres_server.create_database(_postgres_template)
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest.fixture
def empty_postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A fresh PostgreSQL database with nothing in it."""
    name = postgres_server.create_database()
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest.fixture
def sqlite_url(tmp_path: Path, _sqlite_template: Path) -> str:
    """A fresh SQLite file, schema in place; all of a run are copies, so they share one epoch."""
    file = tmp_path / "tallywire.db"
    shutil.copyfile(_sqlite_template, file)
    return f"sqlite+aiosqlite:///{file}"


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    """The address of a SQLite file that is not there yet."""
    return f"sqlite+aiosqlite:///{tmp_path / 'empty.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh database, schema in place: the test runs once on SQLite and once on PostgreSQL."""
    fixture = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
    url: str = request.getfixturevalue(fixture)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest) -> str:
    """An empty database: the test runs once on SQLite and once on PostgreSQL."""
    fixture = {"sqlite": "empty_sqlite_url", "postgresql": "empty_postgres_url"}[request.param]
    url: str = request.getfixturevalue(fixture)
    return url


class StartServer(Protocol):
    """The fixture `server`."""

    def __call__(
        self,
        *,
        database_url: str | None = None,
        env: Mapping[str, str] | None = None,
        secret: str | None = SECRET,
        arguments: Sequence[str] = (),
        ready: bool = True,
    ) -> Awaitable[RunningServer]:
        """
        Start a server and wait until it is ready (`ready=False`: until it listens).

        database_url: a fresh SQLite file if None. secret: None = development mode.
        env: further environment variables. arguments: further ones after `serve`.
        """
        ...


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path, forks: Forks) -> Iterator[StartServer]:
    """Starts real servers for this test and ends them with it; see StartServer."""
    started: list[RunningServer] = []

    async def start(
        *,
        database_url: str | None = None,
        env: Mapping[str, str] | None = None,
        secret: str | None = SECRET,
        arguments: Sequence[str] = (),
        ready: bool = True,
    ) -> RunningServer:
        url: str = database_url or request.getfixturevalue("sqlite_url")
        folder = tmp_path / f"server-{len(started) + 1}"
        folder.mkdir()
        environment = server_environment(url, secret=secret, env=env)
        running = RunningServer(folder, environment, arguments, secret=secret, forks=forks)
        started.append(running)
        await running.start(ready=ready)
        return running

    yield start
    for running in started:
        running.discard()
        request.node.add_report_section("call", running.folder.name, running.log_text())


StartWorker = Callable[..., Awaitable[RunningWorker]]


@pytest.fixture
def worker(tmp_path: Path, forks: Forks) -> Iterator[StartWorker]:
    """
    Starts workers for this test and ends them with it: `worker(database_url, NAME=…)`, with further
    environment variables by name.
    """
    started: list[RunningWorker] = []
    numbers = itertools.count(1)

    async def start(database_url: str, **env: str) -> RunningWorker:
        folder = tmp_path / f"worker-{next(numbers)}"
        folder.mkdir()
        environment = server_environment(database_url, env=env)
        started.append(await RunningWorker.start(folder, environment, forks))
        return started[-1]

    yield start
    for running in started:
        running.discard()


class RunTallywire(Protocol):
    """The fixture `tallywire`."""

    def __call__(
        self,
        *arguments: str,
        database_url: str = ...,
        env: Mapping[str, str] | None = None,
        secret: str | None = SECRET,
    ) -> subprocess.CompletedProcess[str]:
        """
        Run `tallywire ARGUMENTS` to its end, at most a minute; nothing is raised on failure.

        It blocks: against a server behind a proxy of this test use `asyncio.to_thread`.
        """
        ...


@pytest.fixture
def tallywire(tmp_path: Path, forks: Forks) -> RunTallywire:
    """Runs the command line in `tmp_path`; see RunTallywire."""

    def run(
        *arguments: str,
        database_url: str = "sqlite+aiosqlite:///data/tallywire.db",
        env: Mapping[str, str] | None = None,
        secret: str | None = SECRET,
    ) -> subprocess.CompletedProcess[str]:
        environment = server_environment(database_url, secret=secret, env=env)
        return forks.run(arguments, environment, tmp_path)

    return run


@pytest.fixture
async def postgres_proxy(postgres_server: PostgresServer) -> AsyncIterator[PostgresProxy]:
    """A proxy before the run's PostgreSQL: give the server `postgres_proxy.url(postgres_url)`."""
    async with PostgresProxy(postgres_server.port) as proxy:
        yield proxy


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def _chromium() -> AsyncIterator[Browser]:
    executable = find_chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def browser(_chromium: Browser) -> AsyncIterator[Browser]:
    """
    The run's Chromium without any profile (context); those that the test makes end with it.

    It lives in the loop of the session: `pytestmark = pytest.mark.asyncio(loop_scope="session")`.
    """
    assert _chromium.is_connected() and not _chromium.contexts
    yield _chromium
    for context in _chromium.contexts:
        await context.close()
