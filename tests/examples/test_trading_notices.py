"""The trading site's mailer: what a webhook tells it, verified, and each change once."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import create_async_engine
from trading.deliveries import receiver
from trading.notices import Notices
from trading.people import People
from trading.signature import NotGenuine, new_secret, verify
from trading.tables import metadata


@pytest.fixture
async def notices(empty_database_url: str) -> AsyncIterator[Notices]:
    """The mailer of a site with the users ann and ben."""
    url = empty_database_url.replace("postgresql://", "postgresql+asyncpg://")
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
        for name in ("ann", "ben"):
            await People(engine).register(name)
        yield Notices(engine)
    finally:
        await engine.dispose()


def _message(epoch: str, above: int, *told: tuple[int, str, str]) -> dict[str, Any]:
    """One that covers up to its last position; told: each position, user and transaction."""
    updates = [
        {
            "epoch": epoch,
            "position": position,
            "transaction_id": transaction_id,
            "user_id": user_id,
            "change_type": "deposit",
            "description": transaction_id,
            "changes": [
                {"account": f"main/{user_id}/COIN", "asset": "COIN", "amount": "1", "balance": "2"}
            ],
        }
        for position, user_id, transaction_id in told
    ]
    return {"epoch": epoch, "from": above, "to": told[-1][0], "updates": updates}


async def test_a_change_is_one_notice_however_often_it_is_told(notices: Notices) -> None:
    first = _message("e", 0, (1, "ann", "t1"), (2, "ann", "t2"), (2, "ben", "t2"), (3, "eve", "t3"))
    for message in (first, first, _message("e", 1, (2, "ann", "t2"), (4, "ann", "t4"))):
        await notices.take(message)
    assert [text[:2] for text in await notices.of("ann")] == ["t1", "t2", "t4"]
    assert await notices.of("ben") == ["t2: 1 COIN, you have 2"]
    # A user of Tallywire's who is not the site's.
    assert await notices.of("eve") == []

    # All or nothing.
    broken = _message("e", 4, (5, "ann", "t5"), (6, "ann", "t6"))
    del broken["updates"][1]["changes"][0]["amount"]
    with pytest.raises(KeyError):
        await notices.take(broken)
    assert len(await notices.of("ann")) == 3

    # Restored from a backup of position 2: what came after it has not happened.
    await notices.take(_message("f", 2, (5, "ann", "t7")))
    assert [text[:2] for text in await notices.of("ann")] == ["t1", "t2", "t7"]
    # Told again from the beginning.
    await notices.take(_message("f", 0, (1, "ann", "t1"), (2, "ann", "t2"), (5, "ann", "t7")))
    assert [text[:2] for text in await notices.of("ann")] == ["t1", "t2", "t7"]


_WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def _signed(
    secret: str = _WHSEC, *, body: bytes = b'{"test": 1}', sent_at: int = 1_614_265_330
) -> dict[str, str]:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"msg_1.{sent_at}.".encode() + body
    signature = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(sent_at),
        "webhook-signature": f"v1,{signature}",
    }


def test_what_is_signed_is_taken() -> None:
    verify(_WHSEC, _signed(), b'{"test": 1}', 1_614_265_330 + 299)
    two = {**_signed(), "webhook-signature": f"v1,bm9uZQ== {_signed()['webhook-signature']}"}
    verify(_WHSEC, two, b'{"test": 1}', 1_614_265_330 - 299)


@pytest.mark.parametrize(
    ("headers", "body", "later"),
    [
        (_signed(new_secret()), b'{"test": 1}', 0),
        (_signed(), b'{"test": 2}', 0),
        ({**_signed(), "webhook-id": "msg_2"}, b'{"test": 1}', 0),
        ({**_signed(), "webhook-timestamp": "1614265331"}, b'{"test": 1}', 0),
        ({**_signed(), "webhook-timestamp": "today"}, b'{"test": 1}', 0),
        ({**_signed(), "webhook-signature": "v1,ü"}, b'{"test": 1}', 0),
        ({}, b'{"test": 1}', 0),
        (_signed(), b'{"test": 1}', 301),
        (_signed(), b'{"test": 1}', -301),
    ],
)
async def test_what_is_not_ours_is_not_taken(
    headers: dict[str, str], body: bytes, later: int
) -> None:
    with pytest.raises(NotGenuine):
        verify(_WHSEC, headers, body, 1_614_265_330 + later)


async def test_a_delivery_is_answered_once_it_is_kept(notices: Notices) -> None:
    app = httpx.ASGITransport(receiver(_WHSEC, notices))
    body = json.dumps(_message("e", 0, (1, "ann", "t1"))).encode()
    async with httpx.AsyncClient(transport=app, base_url="http://site") as tallywire:
        forged = await tallywire.post("/tallywire", content=body, headers=_signed(body=body[1:]))
        assert (forged.status_code, await notices.of("ann")) == (401, [])
        headers = _signed(body=body, sent_at=int(time.time()))
        taken = await tallywire.post("/tallywire", content=body, headers=headers)
        assert (taken.status_code, len(await notices.of("ann"))) == (204, 1)
