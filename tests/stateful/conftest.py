"""Fresh databases for machines, and how many of their sequences are tried."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..services.postgres import PostgresServer

# The same few in every run; `make stateful` tries others, and makes what fails as short as it can.
EXAMPLES = int(os.environ.get("STATEFUL_EXAMPLES", "0"))


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Gives the address of a fresh database at each call, schema in place."""
    if request.param == "sqlite":
        template = request.getfixturevalue("_sqlite_template")
        numbers = iter(range(1_000_000))

        def copy() -> str:
            file = tmp_path / f"{next(numbers)}.db"
            shutil.copyfile(template, file)
            return f"sqlite+aiosqlite:///{file}"

        yield copy
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    schema = request.getfixturevalue("_postgres_template")
    made: list[str] = []

    def create() -> str:
        while made:
            server.drop_database(made.pop())
        made.append(server.create_database(schema))
        return server.url(made[-1])

    yield create
    while made:
        server.drop_database(made.pop())
