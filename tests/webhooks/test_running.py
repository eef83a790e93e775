"""Webhooks in the whole program: where they may go, and what wakes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tallywire.app import create_app
from tallywire.ledger.errors import InvalidRequest
from tallywire.settings import Settings
from tallywire.webhooks import delivery
from tallywire.webhooks.registrations import Wanted

from tests.services.receiver import Receiver

SECRET = ("s" * 32,)


@pytest.mark.parametrize(
    ("secrets", "hosts", "allowed"),
    [
        ((), None, True),
        ((), ("hooks.example.com",), False),
        (SECRET, None, False),
        (SECRET, ("127.0.0.1",), True),
    ],
)
async def test_this_machine_is_allowed_in_development_mode_or_by_name(
    tmp_path: Path, secrets: tuple[str, ...], hosts: tuple[str, ...] | None, allowed: bool
) -> None:
    settings = Settings(
        database_url=f"sqlite:///{tmp_path}/t.db", secrets=secrets, webhook_hosts=hosts
    )
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        webhooks = app.state.services.webhooks
        wanted = Wanted(url="http://127.0.0.1:9/hook", status="paused")
        if allowed:
            await webhooks.put("shop", wanted, actor="root")
        else:
            with pytest.raises(InvalidRequest, match="TALLYWIRE_WEBHOOK_HOSTS"):
                await webhooks.put("shop", wanted, actor="root")


async def test_a_commit_wakes_who_delivers(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(database_url=f"sqlite:///{tmp_path}/t.db")
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        webhooks = app.state.services.webhooks
        await webhooks.put("shop", Wanted(url=receiver.url), actor="root")
    # It looks by itself once at the start, and then not before the test is over.
    monkeypatch.setattr(delivery, "LOOK", 1_000.0)
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        manager = app.state.services.manager
        await manager.update_balance("ann", "1", "deposit")
        await receiver.until(lambda: len(receiver.received) == 1)
        for count in (2, 3):
            await manager.update_balance("ann", "1", "deposit")
            await receiver.until(lambda wanted=count: len(receiver.received) == wanted)  # type: ignore[misc]
