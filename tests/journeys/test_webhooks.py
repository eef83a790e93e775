"""Webhooks from outside: development mode, and a worker that dies amid a stream of commits."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from typing import Any

import httpx
from standardwebhooks import Webhook
from tallywire.ledger import open_ledger
from tallywire.ledger.clock import SystemClock, uuid7_source
from tallywire.webhooks.destinations import Destinations
from tallywire.webhooks.registrations import Registrations, Wanted

from tests.conftest import StartServer, StartWorker
from tests.services.receiver import Answer, Receiver

ALLOWED = {"TALLYWIRE_WEBHOOK_HOSTS": "127.0.0.1"}
PATH = "/v1/admin/webhooks/shop"


async def test_development_mode_delivers_by_itself(server: StartServer) -> None:
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(Receiver([Answer(500)]))
        running = await server(secret=None)
        token = await running.dev_token("root", "superadmin")
        headers = {"Authorization": f"Bearer {token}"}
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=running.base_url, headers=headers)
        )

        async def put(**settings: Any) -> dict[str, Any]:
            answer = await http.put(PATH, json=settings)
            assert answer.status_code == 200, answer.text
            return dict(answer.json())

        async def deposit(user: str) -> int:
            body = {"user_id": user, "asset": "USDT", "amount": "1"}
            position: int = (await http.post("/v1/deposits", json=body)).json()["position"]
            return position

        made = await put(url=receiver.url)
        told = await deposit("alice")
        await receiver.until(lambda: len(receiver.received) == 2)
        first, again = receiver.received
        assert (first.id, first.body) == (again.id, again.body)
        for each in receiver.received:
            message = Webhook(made["secret"]).verify(each.body, each.headers)
            assert (message["from"], message["to"]) == (made["position"], told)
            assert [update["user_id"] for update in message["updates"]] == ["alice"]
            assert message["updates"][0]["actor"] == "root"

        assert (await put(position=0))["position"] == 0
        await receiver.until(lambda: len(receiver.received) == 3)
        replayed = receiver.received[2]
        assert replayed.range == (0, told) and replayed.id != first.id
        assert replayed.positions == list(range(1, told + 1))
        async with asyncio.timeout(10):
            while (shown := (await http.get(PATH)).json())["position"] < told:
                await asyncio.sleep(0.02)
        assert (shown["lag"], shown["attempts"], shown["last_error"]) == (0, 0, None)
        assert "secret" not in shown
        metrics = (await http.get("/metrics")).text
        assert 'tallywire_webhook_failed_attempts{webhook="shop"} 0.0' in metrics
        refused = await http.put(PATH, json={"url": "http://10.0.0.1/"})
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")
        assert (await http.delete(PATH)).status_code == 200
        assert (await http.get(PATH)).status_code == 404
        assert made["secret"] not in running.log_text()
        # It drains with a delivery under way.
        never = asyncio.Event()
        receiver.answers.append(Answer(after=never))
        await put(url=receiver.url, position=0)
        await receiver.until(lambda: len(receiver.received) == 4)
        assert await running.terminate() == 0


async def test_a_worker_that_is_killed_loses_and_doubles_nothing(
    postgres_url: str, worker: StartWorker
) -> None:
    """The next one takes over; who counts each id once has the journal, whole and in order."""
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(Receiver())
        ledger = await stack.enter_async_context(open_ledger(postgres_url))
        first = await worker(postgres_url, **ALLOWED)
        clock = SystemClock()
        rows = Registrations(
            ledger.database, clock, uuid7_source(clock), Destinations(["127.0.0.1"])
        )
        await rows.put("shop", Wanted(url=receiver.url), actor="root")
        stop = asyncio.Event()

        async def commit() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                await ledger.update_balance(f"user-{number % 7}", "1", "deposit")
                await asyncio.sleep(0.1)

        committing = asyncio.create_task(commit())
        await receiver.until(lambda: len(receiver.received) >= 3, 60)
        # It dies with a message that has arrived and is not answered.
        receiver.answers.append(Answer(after=asyncio.Event()))
        await receiver.until(lambda: receiver.busy == 1)
        first.send_signal(signal.SIGKILL)
        await first.wait()
        unanswered = receiver.received[-1]
        await worker(postgres_url, **ALLOWED)
        await receiver.until(lambda: receiver.received[-1] is not unanswered, 60)
        assert (receiver.received[-1].id, receiver.received[-1].body) == (
            unanswered.id,
            unanswered.body,
        )
        stop.set()
        await committing
        head = (await ledger.reader.head()).position
        await receiver.until(lambda: receiver.received[-1].range[1] == head, 60)
        by_id = {each.id: each for each in receiver.received}
        told = [update for each in by_id.values() for update in each.message["updates"]]
        assert [update["position"] for update in told] == list(range(1, head + 1))
        stored = await ledger.reader.page(0, head)
        while stored[-1].position < head:
            stored += await ledger.reader.page(stored[-1].position, head)
        assert [update["transaction_id"] for update in told] == [
            committed.transaction_id for committed in stored
        ]
