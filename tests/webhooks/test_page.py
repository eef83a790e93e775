"""The page's receiver takes what Tallywire sends, once, and nobody else's."""

from __future__ import annotations

import json
from typing import Any

from tallywire.ledger.clock import SystemClock

from tests.docs.pages import texts
from tests.services.receiver import Answer, Receiver

from .conftest import World


def page() -> dict[str, Any]:
    (code,) = texts("docs/webhooks.md", "python")
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - the page's own code
    return names


async def test_the_pages_receiver_counts_each_position_once(
    world: World, receiver: Receiver
) -> None:
    world.clock.now = SystemClock().now  # type: ignore[method-assign]
    world.draw = 0.0
    receiver.answers += [Answer(500), Answer(500)]
    made = await world.put(url=receiver.url)
    async with world.delivering():
        await world.commit("ann", "bob")
        await world.until(lambda row: row.position == 2)
        await world.put(position=0)
        await world.commit("cid")
        await world.until(lambda row: row.position == 3)
    assert len(receiver.received) > 3
    names, epoch, position = page(), None, 0
    shown = json.loads(texts("docs/webhooks.md", "json")[1].replace("[…]", "[]"))
    kept: list[int] = []
    for each in receiver.received:
        headers = {name.title(): value for name, value in each.headers.items()}
        verified = names["verified"]
        assert verified(made.secret.text, headers, each.body)
        assert not verified(made.secret.text, headers, each.body + b" ")
        assert not verified("another secret than this", headers, each.body)
        assert not verified(made.secret.text, headers, each.body, tolerance=-1)
        for name in ("Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"):
            assert not verified(made.secret.text, {**headers, name: "v1,é"}, each.body)
            del (without := dict(headers))[name]
            assert not verified(made.secret.text, without, each.body)
        message = each.message
        assert set(message) == set(shown)
        assert set(message["updates"][0]) >= set(shown["updates"][0])
        kept += [update["position"] for update in names["not_yet_kept"](message, epoch, position)]
        epoch, position = message["epoch"], max(position, message["to"])
    assert kept == [1, 2, 3]
