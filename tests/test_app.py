"""The composition root: built on start, taken down in order, the same again on the next start."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from tallywire.app import create_app
from tallywire.ledger import open_ledger
from tallywire.settings import Settings, SettingsError

from .logged import logged


def settings_in(folder: Path, **changed: object) -> Settings:
    return Settings(database_url=f"sqlite+aiosqlite:///{folder}/data/t.db", **changed)  # type: ignore[arg-type]


async def ask(app: Starlette, user_id: str) -> dict[str, object]:
    """The user's balances by book, with a token of the app's own."""
    token = app.state.services.tokens.encode(user_id, "user", 60)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        headers = {"Authorization": f"Bearer {token}"}
        answer = await http.get("/v1/users/me/balances", headers=headers)
    return {each["book"]: each["balance"] for each in answer.json()["balances"]}


async def test_a_ledger_that_has_entries_gets_no_play_money(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    (tmp_path / "data").mkdir()
    async with open_ledger(settings.database_url) as ledger:
        await ledger.update_balance("ann", "5", "deposit", asset="USD")
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        assert await ask(app, "alice") == {}


async def test_development_mode_begins_with_play_money_once(tmp_path: Path) -> None:
    for _ in range(2):
        app = create_app(settings_in(tmp_path))
        async with app.router.lifespan_context(app):
            for user_id in ("alice", "bob"):
                assert await ask(app, user_id) == {"main": "10000.000000", "demo": "10000.000000"}


async def test_with_a_secret_nobody_gets_play_money(tmp_path: Path) -> None:
    app = create_app(settings_in(tmp_path, secrets=("s" * 32,)))
    async with app.router.lifespan_context(app):
        assert await ask(app, "alice") == {}


async def test_each_start_of_development_mode_signs_anew(tmp_path: Path) -> None:
    first, second = (create_app(settings_in(tmp_path)) for _ in range(2))
    async with first.router.lifespan_context(first):
        token = first.state.services.tokens.encode("alice", "user", 60)
        assert first.state.services.authenticate(token)
    async with second.router.lifespan_context(second):
        with pytest.raises(Exception, match="not one of ours"):
            second.state.services.authenticate(token)


async def test_revocations_are_known_from_the_start(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, secrets=("s" * 32,))
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        token = app.state.services.tokens.encode("alice", "user", 60)
        await app.state.services.manager.access.revoke("alice", 2**31)
    again = create_app(settings)
    async with again.router.lifespan_context(again):
        with pytest.raises(Exception, match="revoked"):
            again.state.services.authenticate(token)


async def test_settings_that_other_processes_make_become_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tallywire.app._FOLLOW_SECONDS", 0.01)
    settings = settings_in(tmp_path, secrets=("s" * 32,))
    app = create_app(settings)
    async with app.router.lifespan_context(app), open_ledger(settings.database_url) as other:
        await other.administration.put_book("main", {"self_service": False}, actor="root")
        async with asyncio.timeout(10):
            while app.state.services.manager.catalog.book("main").self_service:
                await asyncio.sleep(0.01)


async def test_a_commit_reaches_the_feed(tmp_path: Path) -> None:
    app = create_app(settings_in(tmp_path))
    async with app.router.lifespan_context(app):
        services = app.state.services
        told = asyncio.Event()
        services.bus.subscribe(lambda batch: told.set())
        with logged() as lines:
            receipt = await services.manager.update_balance("alice", "1", "deposit")
            await asyncio.wait_for(told.wait(), 5)
        committed = [each for each in lines if each["event"] == "committed"]
        assert [(each["first"], each["last"], each["changes"]) for each in committed] == [
            (receipt.position, receipt.position, 1)
        ]
        assert services.feed.position == receipt.position


async def test_in_development_mode_the_server_does_the_scheduled_jobs(tmp_path: Path) -> None:
    for secrets, does in (((), True), (("s" * 32,), False)):
        app = create_app(settings_in(tmp_path, secrets=secrets))
        async with app.router.lifespan_context(app):
            leases = app.state.services.manager.leases
            async with asyncio.timeout(5):
                while does and await leases.take("scheduler", "another", 0):
                    await asyncio.sleep(0.01)
            assert await leases.take("scheduler", "another", 0) is not does
            await leases.give_back("scheduler", "another")


async def test_an_address_for_webhooks_that_is_none_is_refused_at_the_start(tmp_path: Path) -> None:
    app = create_app(settings_in(tmp_path, webhook_hosts=("https://hooks.example.com",)))
    with pytest.raises(SettingsError, match=r"TALLYWIRE_WEBHOOK_HOSTS: 'https://hooks"):
        await app.router.lifespan_context(app).__aenter__()


def test_nothing_is_built_before_the_start() -> None:
    assert not hasattr(create_app(Settings()).state, "services")
