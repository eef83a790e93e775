"""Deliveries to a real receiver: in order, each until it is taken, whatever happens between."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import standardwebhooks
from sqlalchemy import text
from tallywire.ledger import UpdateFilter
from tallywire.ledger.clock import parse_rfc3339
from tallywire.ledger.errors import LedgerError
from tallywire.webhooks import delivery
from tallywire.webhooks.registrations import Message, Registration, Registrations
from tallywire.webhooks.signing import Secret

from tests.logged import logged
from tests.services.receiver import Answer, Received, Receiver

from .conftest import World

SECRET = Secret("whsec_" + "A" * 32)


def ranges_join(received: list[Received], start: int = 0) -> None:
    for each in received:
        assert each.message["from"] == start
        assert each.message["to"] > start
        start = each.message["to"]


async def test_what_is_committed_arrives_once_in_order_and_signed(
    either_world: World, receiver: Receiver
) -> None:
    world = either_world
    await world.commit("ann", "bob")
    made = await world.put(url=receiver.url, secret=SECRET, position=0)
    assert (made.position, made.status) == (0, "active")
    async with world.delivering() as deliverer:
        await receiver.until(lambda: bool(receiver.received))
        await world.until(lambda row: row.position == 2)
        for user in ("cid", "dan"):
            await world.commit(user)
            deliverer.wake()
        row = await world.until(lambda row: row.position == 4)
    ranges_join(receiver.received)
    updates = [update for each in receiver.received for update in each.message["updates"]]
    stored = [
        {"epoch": each["epoch"], **each}
        for committed in await world.ledger.reader.page(0)
        for each in _admin(committed, updates[0]["epoch"])
    ]
    assert updates == stored
    assert [update["user_id"] for update in updates] == ["ann", "bob", "cid", "dan"]
    assert row.message is None and row.last_delivered_at is not None
    assert len({each.id for each in receiver.received}) == len(receiver.received)
    first = receiver.received[0]
    assert first.headers["content-type"] == "application/json"
    # The reference library minds the time of day, and the test's clock is of another century.
    verifier = standardwebhooks.Webhook(SECRET.text)
    assert first.headers["webhook-timestamp"] == str(int(world.clock.now().timestamp()))
    signed = verifier.sign(first.id, world.clock.now(), first.body.decode())
    assert first.headers["webhook-signature"] == signed


def _admin(committed: Any, epoch: str) -> list[dict[str, Any]]:
    return [{"epoch": epoch, **msgspec.json.decode(body)} for body in committed.admin_bodies()]


async def test_a_new_webhook_begins_at_the_head(world: World, receiver: Receiver) -> None:
    await world.commit("ann")
    await world.put(url=receiver.url)
    async with world.delivering():
        await world.commit("bob")
        await receiver.until(lambda: bool(receiver.received))
    assert receiver.received[0].range == (1, 2)


async def test_a_refused_message_is_the_same_until_it_is_taken(
    world: World, receiver: Receiver
) -> None:
    receiver.answers += [Answer(500), Answer(cut=True), Answer(404)]
    await world.put(url=receiver.url)
    await world.commit("ann")
    async with world.delivering():
        for attempts, limit in ((1, 1), (2, 2), (3, 4)):
            row = await world.until(lambda row, count=attempts: row.attempts == count)  # type: ignore[misc]
            # More is committed meanwhile; and half of the limit is drawn.
            await world.commit("bob")
            assert row.next_attempt_at is not None
            wait = parse_rfc3339(row.next_attempt_at) - world.clock.now()
            assert wait == timedelta(seconds=limit / 2)
            assert len(receiver.received) == attempts
            world.clock.move(seconds=limit / 2)
        row = await world.until(lambda row: row.position == 4)
    assert (row.attempts, row.failing_since, row.last_error) == (0, None, None)
    first, *others = receiver.received
    assert len(others) == 4
    assert {(each.id, each.body) for each in others[:3]} == {(first.id, first.body)}
    assert others[3].range == (1, 4) and others[3].id != first.id
    times = [int(each.headers["webhook-timestamp"]) for each in receiver.received]
    assert times[3] > times[0]


async def test_what_went_wrong_is_said_in_a_line(world: World, receiver: Receiver) -> None:
    world.patience = 0.1
    never = asyncio.Event()
    receiver.answers += [
        Answer(302, location="http://127.0.0.1:1/other"),
        Answer(after=never),
        Answer(cut=True),
    ]
    await world.put(url=receiver.url)
    await world.commit("ann")
    said = []
    async with world.delivering():
        for attempts in (1, 2, 3):
            row = await world.until(lambda row, count=attempts: row.attempts == count)  # type: ignore[misc]
            said.append(row.last_error)
            world.clock.move(seconds=600)
        await world.until(lambda row: row.position == 1)
    assert said[:2] == [
        "answered 302; redirects are not followed",
        "no answer within 0.1 s",
    ]
    assert said[2] is not None and said[2].startswith("no answer: ")
    # Had the redirect been followed, it would have come to nobody.
    assert [each.path for each in receiver.received] == ["/hook"] * 4


async def test_an_answer_without_end_holds_up_nothing(world: World, receiver: Receiver) -> None:
    # Nor is it waited for.
    world.patience = 600.0
    receiver.answers += [Answer(endless=True), Answer(500, endless=True)]
    await world.put(url=receiver.url)
    async with world.delivering():
        await world.commit("ann")
        await world.until(lambda row: row.position == 1)
        await world.commit("bob")
        row = await world.until(lambda row: row.attempts == 1)
    assert row.last_error == "answered 500"


async def test_a_crash_after_the_receiver_took_it_sends_it_again(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.put(url=receiver.url)
    await world.commit("ann")
    reached = asyncio.Event()

    async def die(*_: Any) -> Registration | None:
        reached.set()
        raise LedgerError("the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(Registrations, "delivered", die)
        async with world.delivering():
            await reached.wait()
    row = await world.row()
    assert (row.position, row.message is not None) == (0, True)
    # Another worker takes over when there is more in the journal.
    await world.commit("bob")
    before = len(receiver.received)
    async with world.delivering():
        await world.until(lambda row: row.position == 2)
    first, *others = receiver.received
    assert {(each.id, each.body) for each in others[:before]} == {(first.id, first.body)}
    assert others[before].range == (1, 2)


async def test_a_crash_before_the_first_attempt_changes_nothing_of_it(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.put(url=receiver.url)
    await world.commit("ann", "bob")
    fixed = await world.registrations.advance(
        await world.row(), 0, Message("id-1", await epoch(world), 1)
    )
    assert fixed is not None
    async with world.delivering():
        await world.until(lambda row: row.position == 2)
    assert next((each.id, each.range) for each in receiver.received) == ("id-1", (0, 1))
    assert receiver.received[1].range == (1, 2)


async def epoch(world: World) -> str:
    return (await world.ledger.reader.head()).epoch


async def test_a_filter_sends_what_passes_and_the_ranges_join(
    world: World, receiver: Receiver
) -> None:
    await world.put(url=receiver.url, filter=UpdateFilter(asset="EUR"))
    async with world.delivering():
        await world.commit("ann", "bob")
        row = await world.until(lambda row: row.examined == 2)
        assert (row.position, receiver.received) == (0, [])
        await world.commit("cid", asset="EUR")
        await world.until(lambda row: row.position == 3)
        await world.commit("dan")
        await world.until(lambda row: row.examined == 4)
        await world.commit("eve", asset="EUR")
        await world.until(lambda row: row.position == 5)
    assert [(each.range, each.positions) for each in receiver.received] == [
        ((0, 3), [3]),
        ((3, 5), [5]),
    ]


async def test_what_was_passed_over_is_not_read_again_after_a_restart(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.put(url=receiver.url, filter=UpdateFilter(asset="EUR"))
    await world.commit("ann", "bob")
    async with world.delivering():
        await world.until(lambda row: row.examined == 2)
    read: list[int] = []
    page = type(world.ledger.reader).page

    async def noted(self: Any, after: int, limit: int = 500) -> Any:
        read.append(after)
        return await page(self, after, limit)

    monkeypatch.setattr(type(world.ledger.reader), "page", noted)
    await world.commit("cid", asset="EUR")
    async with world.delivering():
        await world.until(lambda row: row.position == 3)
    assert min(read) == 2
    assert receiver.received[0].range == (0, 3)


async def test_a_long_journal_comes_in_messages_of_bounded_size(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.commit(*(f"user-{number}" for number in range(12)))
    size = len((await world.ledger.reader.page(0, 1))[0].admin_bodies()[0])
    monkeypatch.setattr(delivery, "MOST_TRANSACTIONS", 5)
    await world.put(url=receiver.url, position=0)
    async with world.delivering():
        await world.until(lambda row: row.position == 12)
        assert [each.range for each in receiver.received] == [(0, 5), (5, 10), (10, 12)]
        receiver.received.clear()
        # Smaller than a single transaction: one in each.
        monkeypatch.setattr(delivery, "MOST_BYTES", size // 2)
        await world.put(position=9)
        await receiver.until(lambda: len(receiver.received) == 3)
    assert [each.range for each in receiver.received] == [(9, 10), (10, 11), (11, 12)]


async def test_a_day_of_failures_pauses_and_a_put_resumes(world: World, receiver: Receiver) -> None:
    receiver.answers += [Answer(500)] * 3
    await world.put(url=receiver.url)
    await world.commit("ann")
    with logged() as lines:
        async with world.delivering():
            await world.until(lambda row: row.attempts == 1)
            world.clock.move(hours=23, minutes=59)
            row = await world.until(lambda row: row.attempts == 2)
            assert row.status == "active"
            world.clock.move(minutes=16)
            row = await world.until(lambda row: row.status == "paused")
            assert (row.attempts, row.last_error, row.next_attempt_at) == (3, "answered 500", None)
            await world.commit("bob")
            await asyncio.sleep(0.1)
            assert len(receiver.received) == 3
            row = await world.put(status="active")
            assert (row.attempts, row.failing_since, row.last_error) == (0, None, None)
            await world.until(lambda row: row.position == 2)
    assert receiver.received[3].id == receiver.received[0].id
    (paused,) = [line for line in lines if line["event"] == "a webhook is paused"]
    assert (paused["level"], paused["webhook"]) == ("error", "shop")
    audited = await world.ledger.reader.audit(None, 10)
    assert [(each["action"], each["actor"]) for each in audited] == [
        ("webhook_set", "root"),
        ("webhook_paused", "system"),
        ("webhook_set", "root"),
    ]


async def test_who_is_gone_is_paused_at_once(world: World, receiver: Receiver) -> None:
    receiver.answers.append(Answer(410))
    await world.put(url=receiver.url)
    await world.commit("ann")
    async with world.delivering():
        row = await world.until(lambda row: row.status == "paused")
    assert row.last_error == "answered 410"


async def test_an_operator_pauses_and_resumes(world: World, receiver: Receiver) -> None:
    await world.put(url=receiver.url)
    async with world.delivering():
        await world.put(status="paused")
        await world.commit("ann")
        await asyncio.sleep(0.1)
        assert receiver.received == []
        await world.put(status="active")
        await receiver.until(lambda: bool(receiver.received))
    assert receiver.received[0].range == (0, 1)


async def test_the_receiver_says_when_to_come_back(world: World, receiver: Receiver) -> None:
    receiver.answers += [Answer(503, retry_after="30"), Answer(429, retry_after="1000000")]
    await world.put(url=receiver.url)
    await world.commit("ann")
    async with world.delivering():
        for attempts, seconds in ((1, 30), (2, 900)):
            row = await world.until(lambda row, count=attempts: row.attempts == count)  # type: ignore[misc]
            assert row.next_attempt_at is not None
            wait = parse_rfc3339(row.next_attempt_at) - world.clock.now()
            assert wait == timedelta(seconds=seconds)
            world.clock.move(seconds=seconds)
        await world.until(lambda row: row.position == 1)


async def test_a_slow_receiver_holds_up_nobody_else(world: World, receiver: Receiver) -> None:
    answered = asyncio.Event()
    async with Receiver([Answer(after=answered)]) as slow:
        await world.put("slow", url=slow.url)
        await world.put("fast", url=receiver.url)
        async with world.delivering():
            for count, user in enumerate(("ann", "bob", "cid"), 1):
                await world.commit(user)
                await world.until(lambda row, position=count: row.position == position, "fast")  # type: ignore[misc]
            assert slow.busy == 1 and len(slow.received) == 1
            answered.set()
            await world.until(lambda row: row.position == 3, "slow")
        ranges_join(slow.received)


async def test_receivers_that_go_on_hanging_leave_room_for_others(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "MOST_ATTEMPTS", 2)
    monkeypatch.setattr(delivery, "MOST_RETRIES", 1)
    world.draw = 0.0
    never = asyncio.Event()
    hanging = [Answer(500), Answer(after=never)]
    async with Receiver(list(hanging)) as one, Receiver(list(hanging)) as other:
        await world.put("one", url=one.url)
        await world.put("other", url=other.url)
        await world.commit("ann")
        async with world.delivering():
            await world.until(lambda row: row.attempts == 1, "one")
            await world.until(lambda row: row.attempts == 1, "other")
            async with asyncio.timeout(20):
                while one.busy + other.busy == 0:
                    await asyncio.sleep(0.01)
            await world.put("good", url=receiver.url, position=0)
            await world.until(lambda row: row.position == 1, "good")
            assert one.busy + other.busy == 1


@pytest.mark.parametrize("taken", [200, 500])
async def test_a_change_wins_over_the_outcome_of_an_older_attempt(
    world: World, receiver: Receiver, taken: int
) -> None:
    """The attempt is held until the change is committed, and only then answered."""
    answered = asyncio.Event()
    async with Receiver([Answer(taken, after=answered)]) as old:
        await world.put(url=old.url)
        await world.commit("ann", "bob")
        deliverer = world.deliverer()
        # One follower by itself: nobody cancels what it has begun.
        async with deliverer._sender() as sender:
            follower = delivery.Follower(
                await world.row(),
                world.ledger.reader,
                world.registrations,
                sender,
                delivery.Turns(),
                world.clock,
                iter(["id-1", "id-2"]).__next__,
                lambda: 0.0,
            )
            running = asyncio.create_task(follower.run())
            await old.until(lambda: bool(old.received))
            changed = await world.put(url=receiver.url, secret=SECRET, position=1)
            answered.set()
            await running
        assert await world.row() == changed
    async with world.delivering():
        await world.until(lambda row: row.position == 2)
    assert [each.range for each in receiver.received] == [(1, 2)]
    assert receiver.received[0].id not in ("id-1", "id-2")


async def test_two_who_deliver_at_once_keep_the_order(world: World, receiver: Receiver) -> None:
    """A frozen worker that thaws: it may repeat a message under its id, and nothing else."""
    await world.put(url=receiver.url)
    async with world.delivering() as one, world.delivering() as two:
        for user in ("ann", "bob", "cid", "dan", "eve"):
            await world.commit(user)
            one.wake()
            two.wake()
        await world.until(lambda row: row.position == 5)
    by_id = {each.id: each for each in receiver.received}
    bodies = {(each.id, each.body) for each in receiver.received}
    assert len(bodies) == len(by_id)
    ranges_join(list(by_id.values()))


async def test_a_list_of_addresses_that_got_shorter_stops_deliveries(
    world: World, receiver: Receiver
) -> None:
    await world.put(url=receiver.url)
    await world.commit("ann")
    world.hosts[:] = ["hooks.example.com"]
    async with world.delivering():
        row = await world.until(lambda row: row.attempts == 1)
    assert receiver.received == []
    assert "TALLYWIRE_WEBHOOK_HOSTS" in str(row.last_error) and row.status == "active"
    world.hosts[:] = ["127.0.0.1"]
    world.clock.move(seconds=10)
    async with world.delivering():
        await world.until(lambda row: row.position == 1)


async def test_a_new_epoch_goes_on_from_the_row_and_says_so(
    either_world: World, receiver: Receiver
) -> None:
    world = either_world
    receiver.answers.append(Answer(500))
    before = await epoch(world)
    await world.put(url=receiver.url)
    await world.commit("ann")
    async with world.delivering():
        await world.until(lambda row: row.attempts == 1)
        await world.ledger.administration.renew_epoch("root")
        world.clock.move(seconds=10)
        await world.until(lambda row: row.position == 1)
    first, second = receiver.received
    assert (first.message["epoch"], second.message["epoch"]) == (before, await epoch(world))
    assert {update["epoch"] for update in second.message["updates"]} == {await epoch(world)}
    assert second.range == first.range and second.id != first.id


async def test_a_webhook_that_knows_more_than_the_journal_is_paused(
    world: World, receiver: Receiver
) -> None:
    await world.put(url=receiver.url)
    await world.commit("ann")
    async with world.ledger.database.write() as connection:
        await connection.execute(text("UPDATE webhooks SET position = 9, examined = 9"))
    async with world.delivering():
        row = await world.until(lambda row: row.status == "paused")
        assert row.last_error is not None and "the journal ends at 1" in row.last_error
        await world.put(position=1, status="active")
        await world.commit("bob")
        await world.until(lambda row: row.position == 2)
    assert [each.range for each in receiver.received] == [(1, 2)]


async def test_a_removed_webhook_gets_nothing_more(world: World, receiver: Receiver) -> None:
    await world.put(url=receiver.url)
    async with world.delivering():
        await world.commit("ann")
        await world.until(lambda row: row.position == 1)
        await world.registrations.remove("shop", actor="root")
        await world.commit("bob")
        # Made again under the name, it begins anew.
        await world.put(url=receiver.url)
        await world.commit("cid")
        await world.until(lambda row: row.position == 3)
    assert [each.range for each in receiver.received] == [(0, 1), (2, 3)]
