"""What every bus does for its subscribers, on each of the two; and what the Redis one endures."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Protocol

import pytest
from tallywire.ledger.updates import Batch, Committed
from tallywire.sync.bus import Bus, open_bus
from tallywire.sync.bus_redis import JOURNAL, REVOCATIONS
from tallywire.sync.envelope import LARGEST, Revocation, Signer, encode, split

from tests.services.processes import free_port
from tests.services.redis import RedisServer
from tests.sync.journal import Journal

from ..logged import logged

SECRET = "s" * 32
OLD_SECRET = "o" * 32
PATIENCE = 10.0
# After an outage updates come by the bus again within this many seconds.
BACK_WITHIN = 5.0


class Heard:
    """What one subscriber was told."""

    def __init__(self, bus: Bus) -> None:
        self.batches: list[Batch] = []
        self.revoked: list[tuple[str, int]] = []
        self._news = asyncio.Event()
        bus.subscribe(self._deliver)
        bus.subscribe_revocations(self._revoke)

    def _deliver(self, batch: Batch) -> None:
        self.batches.append(batch)
        self._news.set()

    def _revoke(self, user_id: str, at: int) -> None:
        self.revoked.append((user_id, at))
        self._news.set()

    @property
    def transactions(self) -> list[Committed]:
        return [committed for batch in self.batches for committed in batch.transactions]

    async def until(self, condition: Callable[[], bool], within: float = PATIENCE) -> None:
        async with asyncio.timeout(within):
            while not condition():
                self._news.clear()
                await self._news.wait()


class Open(Protocol):
    """The fixture `opened`."""

    async def __call__(self) -> Bus:
        """One more process's bus, up; on the bus in memory that is the same one."""
        ...


@pytest.fixture(params=["memory", "redis"])
async def opened(request: pytest.FixtureRequest, redis_server: RedisServer) -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:
        memory = open_bus(None)

        async def open_one() -> Bus:
            if request.param == "memory":
                return memory
            bus = open_bus(redis_server.url, [SECRET])
            stack.push_async_callback(bus.close)
            await bus.start()
            assert bus.is_up
            return bus

        yield open_one


async def until_up(bus: Bus, up: bool = True, within: float = PATIENCE) -> None:
    changed = asyncio.Event()
    bus.on_change(changed.set)
    async with asyncio.timeout(within):
        while bus.is_up != up:
            await changed.wait()
            changed.clear()


async def test_every_subscriber_of_every_process_gets_each_once_in_order(opened: Open) -> None:
    one, two = await opened(), await opened()
    subscribers = [Heard(one), Heard(one), Heard(two)]
    journal = Journal()
    batches = [journal.commit_many(size, "alice", "bob") for size in (1, 7, 1, 512, 3)]
    for batch in batches:
        await one.publish(batch)
    for heard in subscribers:
        await heard.until(lambda heard=heard: len(heard.batches) >= len(batches))  # type: ignore[misc]
        assert heard.batches == batches


async def test_what_two_processes_publish_comes_in_the_order_of_each(opened: Open) -> None:
    one, two = await opened(), await opened()
    heard = Heard(two)
    first, second = Journal("first"), Journal("second")
    for _ in range(50):
        await one.publish(first.commit("alice"))
        await two.publish(second.commit("bob"))
    await heard.until(lambda: len(heard.batches) >= 100)
    for journal in (first, second):
        ours = [batch for batch in heard.batches if batch.epoch == journal.epoch]
        assert [batch.first for batch in ours] == list(range(1, 51))


async def test_a_big_batch_arrives_whole(opened: Open) -> None:
    one, two = await opened(), await opened()
    heard = Heard(two)
    journal = Journal()
    batch = journal.commit_many(40, "alice", description="x" * (LARGEST // 10))
    await one.publish(batch)
    await heard.until(lambda: len(heard.transactions) >= 40)
    assert heard.transactions == list(batch.transactions)
    assert {part.epoch for part in heard.batches} == {batch.epoch}
    for part in heard.batches:
        assert [c.position for c in part.transactions] == list(range(part.first, part.last + 1))


async def test_revocations_arrive(opened: Open) -> None:
    one, two = await opened(), await opened()
    subscribers = [Heard(one), Heard(two)]
    await one.publish_revocation("ålice/1", 1_700_000_000)
    for heard in subscribers:
        await heard.until(lambda heard=heard: bool(heard.revoked))  # type: ignore[misc]
        assert heard.revoked == [("ålice/1", 1_700_000_000)]


async def test_publishing_never_waits(opened: Open) -> None:
    bus = await opened()
    batch = Journal().commit("alice")
    publishing = bus.publish(batch)
    # A coroutine that comes to its end at the first step has waited for nothing.
    with pytest.raises(StopIteration):
        publishing.send(None)


async def test_after_close_nobody_is_told_and_publishing_harms_nobody(opened: Open) -> None:
    bus = await opened()
    heard = Heard(bus)
    await bus.close()
    await bus.publish(Journal().commit("alice"))
    await bus.publish_revocation("alice", 1)
    await asyncio.sleep(0)
    assert heard.batches == [] and heard.revoked == []


async def test_what_was_published_before_the_close_arrives(opened: Open) -> None:
    one, two = await opened(), await opened()
    heard, journal = Heard(two), Journal()
    batches = [journal.commit("alice") for _ in range(50)]
    for batch in batches:
        await one.publish(batch)
    await one.close()
    await heard.until(lambda: len(heard.batches) == 50)
    assert heard.batches == batches


# Splitting, without any bus.


def test_a_batch_is_split_at_the_largest_size_and_no_earlier() -> None:
    journal = Journal()
    batch = journal.commit_many(10, "alice", description="x" * 1000)
    size = len(batch.transactions[0].encoded)
    parts = list(split(batch, 3 * size + 10))
    assert [(part.first, part.last) for part in parts] == [(1, 3), (4, 6), (7, 9), (10, 10)]
    assert [c for part in parts for c in part.transactions] == list(batch.transactions)
    assert list(split(batch)) == [batch]


def test_a_transaction_larger_than_that_travels_alone() -> None:
    journal = Journal()
    small, large, last = (
        journal.commit("alice", description="x" * size).transactions[0] for size in (1, 5000, 1)
    )
    parts = list(split(Batch("epoch-1", 1, 3, (small, large, last)), 1000))
    assert [part.transactions for part in parts] == [(small,), (large,), (last,)]


# What only the Redis bus meets.


async def started(redis: RedisServer, *secrets: str) -> Bus:
    bus = open_bus(redis.url, secrets or [SECRET])
    await bus.start()
    return bus


async def send(redis: RedisServer, channel: str, message: bytes) -> None:
    """PUBLISH as anybody might who reaches Redis."""
    reader, writer = await asyncio.open_connection("127.0.0.1", redis.port)
    arguments = [b"PUBLISH", channel.encode(), message]
    writer.write(b"*%d\r\n" % len(arguments))
    writer.writelines(b"$%d\r\n%s\r\n" % (len(each), each) for each in arguments)
    assert (await reader.readline()).startswith(b":")
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("channel", [JOURNAL, REVOCATIONS])
async def test_what_we_did_not_sign_is_ignored(redis_server: RedisServer, channel: str) -> None:
    bus = await started(redis_server)
    heard = Heard(bus)
    batch = Journal().commit("mallory")
    payload = encode(batch if channel == JOURNAL else Revocation("alice", 2**31))
    signed = Signer([SECRET]).sign(channel, payload)
    elsewhere = REVOCATIONS if channel == JOURNAL else JOURNAL
    bare = hmac.digest(SECRET.encode(), payload, "sha256") + payload
    with logged() as lines:
        for forged in (
            payload,
            b"",
            bytes(32) + payload,
            bare,
            Signer([OLD_SECRET]).sign(channel, payload),
            Signer([SECRET]).sign(elsewhere, payload),
            signed[:-1] + bytes([signed[-1] ^ 1]),
            bytes([signed[0] ^ 1]) + signed[1:],
            Signer([SECRET]).sign(channel, b"\xc1 not MessagePack"),
            Signer([SECRET]).sign(channel, b"\x80"),
        ):
            await send(redis_server, channel, forged)
        await bus.publish(Journal("last").commit("alice"))
        await heard.until(lambda: len(heard.batches) > 0)
    assert [each.epoch for each in heard.batches] == ["last"]
    assert heard.revoked == []
    assert bus.is_up
    assert [line["level"] for line in lines] == ["warning"]
    await bus.close()


async def test_while_secrets_are_changed_old_and_new_understand_each_other(
    redis_server: RedisServer,
) -> None:
    new = await started(redis_server, SECRET, OLD_SECRET)
    old = await started(redis_server, OLD_SECRET, SECRET)
    by_new, by_old = Heard(new), Heard(old)
    await new.publish(Journal("new").commit("alice"))
    await old.publish(Journal("old").commit("alice"))
    for heard in (by_new, by_old):
        await heard.until(lambda heard=heard: len(heard.batches) == 2)  # type: ignore[misc]
        assert {batch.epoch for batch in heard.batches} == {"new", "old"}
    await new.close()
    await old.close()


async def test_one_message_a_batch(redis_server: RedisServer) -> None:
    bus = await started(redis_server)
    heard = Heard(bus)
    before = _published(redis_server)
    journal = Journal()
    for _ in range(20):
        await bus.publish(journal.commit_many(5, "alice"))
    await heard.until(lambda: len(heard.batches) == 20)
    # Its heartbeats are messages too: four a second.
    assert 20 <= _published(redis_server) - before <= 20 + 8
    await bus.close()


def _published(redis: RedisServer) -> int:
    lines = redis.command("INFO", "commandstats").splitlines()
    (line,) = [line for line in lines if line.startswith("cmdstat_publish:")]
    return int(line.partition("calls=")[2].partition(",")[0])


async def test_closing_ends_even_as_the_link_breaks(redis_server: RedisServer) -> None:
    for _ in range(5):
        bus = await started(redis_server)
        await asyncio.to_thread(redis_server.kill9)
        async with asyncio.timeout(PATIENCE):
            await bus.close()
        await asyncio.to_thread(redis_server.start)


async def test_it_starts_without_redis_and_comes_up_when_that_does(
    redis_server: RedisServer,
) -> None:
    redis_server.stop()
    bus = await started(redis_server)
    assert not bus.is_up
    heard = Heard(bus)
    journal = Journal()
    await bus.publish(journal.commit("alice"))
    await asyncio.to_thread(redis_server.start)
    await until_up(bus, within=BACK_WITHIN)
    second = journal.commit("alice")
    await bus.publish(second)
    await heard.until(lambda: len(heard.batches) > 0)
    assert heard.batches == [second]
    await bus.close()


@pytest.mark.parametrize("outage", ["kill9", "stop", "pause"])
async def test_it_comes_back_after_an_outage(redis_server: RedisServer, outage: str) -> None:
    bus = await started(redis_server)
    heard = Heard(bus)
    journal = Journal()
    await asyncio.to_thread(getattr(redis_server, outage))
    await until_up(bus, False, within=2.0)
    for _ in range(10):
        await bus.publish(journal.commit("alice"))
    if outage == "pause":
        redis_server.resume()
    else:
        await asyncio.to_thread(redis_server.start)
    await until_up(bus, within=BACK_WITHIN)
    last = journal.commit("alice")
    await bus.publish(last)
    await heard.until(lambda: last in heard.batches)
    # What was dropped stays dropped: stale batches would only be in the way.
    assert heard.batches == [last]
    await bus.close()


@pytest.mark.parametrize("name", ["tallywire-subscriber", "tallywire-publisher"])
async def test_either_connection_cut_makes_both_anew(redis_server: RedisServer, name: str) -> None:
    bus = await started(redis_server)
    heard = Heard(bus)
    assert await asyncio.to_thread(redis_server.kill_clients, name) == 1
    await until_up(bus, False)
    await until_up(bus, within=BACK_WITHIN)
    await bus.publish(Journal().commit("alice"))
    await heard.until(lambda: len(heard.batches) == 1)
    for each in ("tallywire-subscriber", "tallywire-publisher"):
        assert len(await asyncio.to_thread(redis_server.clients, each)) == 1
    await bus.close()


async def test_a_subscription_lost_without_a_word_is_noticed(redis_server: RedisServer) -> None:
    bus = await started(redis_server)
    # Redis takes the subscriber's connection for a plain one again: it stays open and silent.
    relay = await _deaf_relay(redis_server)
    deaf = open_bus(f"redis://127.0.0.1:{relay.port}", [SECRET])
    await deaf.start()
    heard = Heard(deaf)
    relay.deaf = True
    await until_up(deaf, False, within=2.0)
    relay.deaf = False
    await until_up(deaf, within=BACK_WITHIN)
    await bus.publish(Journal().commit("alice"))
    await heard.until(lambda: len(heard.batches) == 1)
    await deaf.close()
    await bus.close()
    await relay.close()


class _Relay:
    """Passes bytes between clients and Redis; while `deaf`, drops what Redis pushes."""

    def __init__(self, upstream: int) -> None:
        self.port = free_port()
        self.deaf = False
        self._upstream = upstream
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pass(reader, up_writer, lambda data: data))
                both.create_task(
                    _pass(
                        up_reader,
                        writer,
                        lambda data: b"" if self.deaf and b"message\r\n" in data else data,
                    )
                )
        finally:
            writer.transport.abort()
            up_writer.transport.abort()


async def _pass(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    through: Callable[[bytes], bytes],
) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(through(data))
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def _deaf_relay(redis: RedisServer) -> _Relay:
    relay = _Relay(redis.port)
    await relay.start()
    return relay


async def test_an_overrun_output_buffer_is_overcome(redis_server: RedisServer) -> None:
    bus = await started(redis_server)
    heard = Heard(bus)
    limit = "pubsub 100kb 0 0"
    redis_server.command("CONFIG", "SET", "client-output-buffer-limit", limit)
    journal = Journal()
    # Nothing is read while the loop is in here, and one message alone is above the limit.
    await bus.publish(journal.commit("alice", description="x" * 6_000_000))
    await until_up(bus, False)
    await until_up(bus, within=BACK_WITHIN)
    small = journal.commit("alice")
    await bus.publish(small)
    await heard.until(lambda: small in heard.batches)
    await bus.close()


async def test_a_flood_while_redis_is_frozen_is_bounded(redis_server: RedisServer) -> None:
    bus = await started(redis_server)
    redis_server.pause()
    journal = Journal()
    batch = journal.commit("alice", description="x" * 500_000)
    for _ in range(100):
        await bus.publish(batch)
    assert bus._waiting_bytes <= 8 * 1_048_576  # type: ignore[attr-defined]
    redis_server.resume()
    await bus.close()


def test_a_bus_between_processes_needs_a_secret() -> None:
    with pytest.raises(ValueError, match="TALLYWIRE_SECRET"):
        open_bus("redis://127.0.0.1")
