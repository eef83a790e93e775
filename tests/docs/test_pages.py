"""The pages, followed from their first line to their last on a machine of one's own."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Column, MetaData, String, Table, insert
from sqlalchemy.ext.asyncio import create_async_engine
from tallywire import open_ledger
from tallywire.ws.messages import read_connect, read_message

from ..services.server import RunningServer
from .awaiting import awaited, compiled
from .following import clone_in, follow_page, followed
from .pages import ROOT, Block, texts

PROGRAMS = {"PATH": f"{sys.prefix}/bin{os.pathsep}{os.defpath}"}


def _connects(block: Block) -> None:
    read_connect(read_message(block.text))


async def _follow(page: str, folder: Path, **options: Any) -> None:
    text = (ROOT / page).read_text()
    for written, meant in options.pop("swaps", {}).items():
        assert written in text
        text = text.replace(written, meant)
    await follow_page(clone_in(folder), text, name=page, environment=PROGRAMS, **options)


async def test_the_readme(tmp_path: Path, empty_postgres_url: str) -> None:
    swaps = {
        "postgresql://tallywire@db.internal/tallywire": empty_postgres_url,
        "--host 0.0.0.0": "--host 127.0.0.1 --port 3001",
    }
    await _follow("README.md", tmp_path, others={"json": _connects}, swaps=swaps)


@pytest.mark.parametrize(
    "page", ["docs/concepts.md", "docs/mirrors.md", "docs/time.md", "docs/trading.md"]
)
async def test_a_page(page: str, tmp_path: Path) -> None:
    await _follow(page, tmp_path)


async def test_webhooks(tmp_path: Path) -> None:
    """The answer as it is shown; what is delivered is in tests/webhooks/test_page.py."""
    page = "docs/webhooks.md"
    shown, _ = texts(page, "json")
    clone, text = clone_in(tmp_path), (ROOT / page).read_text()
    skipped = {"json": lambda _: None}
    async with followed(
        clone, text, name=page, environment=PROGRAMS, others=skipped, before="make run"
    ) as ports:
        base = f"http://127.0.0.1:{ports['3000']}"
        async with httpx.AsyncClient(base_url=base) as http:
            root = {"user_id": "root", "role": "superadmin"}
            token = (await http.post("/dev/token", json=root)).json()["token"]
            http.headers["Authorization"] = f"Bearer {token}"
            answer = await http.get("/v1/admin/webhooks/shop")
    assert set(answer.json()) == set(json.loads(shown))


async def test_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its program; tests/journeys/test_restore.py has the commands."""
    monkeypatch.chdir(tmp_path)
    (program,) = texts("docs/backup.md", "python")
    names: dict[str, Any] = {}
    await awaited(compiled(program), names)
    assert names["imported"].position == names["exported"].position == 0


async def test_the_contract(server: Any, empty_sqlite_url: str) -> None:
    """Its objects have the fields of the real ones, its program runs."""
    page = "docs/contract.md"
    balance, update, connect = texts(page, "json")
    read_connect(read_message(connect))
    running: RunningServer = await server(database_url=empty_sqlite_url, secret=None)
    orders = Table("orders", MetaData(), Column("player", String))
    engine = create_async_engine(empty_sqlite_url)
    async with engine.begin() as connection:
        await connection.run_sync(orders.metadata.create_all)
    async with open_ledger(empty_sqlite_url) as ledger:
        # The program's player has the money.
        await ledger.administration.put_book("game:42", {"side": "credit"}, actor="root")
        wallet = ledger.wallet("player-7", asset="USD", book="game:42")
        await wallet.add_to_balance("5000.00", reason="start money")
    (program,) = texts(page, "python")
    await awaited(
        compiled(program),
        {"open_ledger": open_ledger, "url": empty_sqlite_url, "insert": insert, "orders": orders},
    )
    async with httpx.AsyncClient(base_url=running.base_url) as http:
        http.headers["Authorization"] = f"Bearer {await running.dev_token('alice')}"
        balances = (await http.get("/v1/users/me/balances")).json()["balances"]
        history = (await http.get("/v1/users/me/history")).json()["items"]
    assert set(json.loads(balance)) == set(balances[0])
    assert set(json.loads(update.replace("CHANGE", ""))) == set(history[0])
    await engine.dispose()
