"""The feed: strictly by position, each once, whatever the bus does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from tallywire.ledger.updates import Batch, Committed
from tallywire.sync.bus_memory import MemoryBus
from tallywire.sync.feed import HEAD_INTERVAL, HOLE_WAIT, Feed, Source

from tests.sync.journal import Journal
from tests.virtual_time import in_virtual_time

SOURCES: list[Source] = ["local", "bus"]


class DownBus(MemoryBus):
    is_up = False


@dataclass
class Heard:
    """What a feed hands on."""

    positions: list[int] = field(default_factory=list)
    begun: list[tuple[str, int]] = field(default_factory=list)
    calls: int = 0

    def deliver(self, epoch: str, transactions: list[Committed]) -> None:
        assert epoch == self.begun[-1][0]
        self.calls += 1
        self.positions += [committed.position for committed in transactions]

    def begin(self, epoch: str, position: int) -> None:
        self.begun.append((epoch, position))


async def started(journal: Journal, bus: MemoryBus | None = None) -> tuple[Feed, Heard]:
    feed, heard = Feed(journal, bus or MemoryBus()), Heard()
    feed.subscribe(heard.deliver, heard.begin)
    await feed.start()
    return feed, heard


@in_virtual_time
async def test_it_starts_at_the_head() -> None:
    journal = Journal()
    journal.commit_many(3)
    feed, heard = await started(journal)
    assert heard.begun == [("epoch-1", 3)]
    assert (feed.epoch, feed.position) == ("epoch-1", 3)
    feed.offer(journal.commit(), "local")
    assert heard.positions == [4]
    await feed.close()


@in_virtual_time
async def test_what_local_commit_and_bus_both_bring_is_handed_on_once() -> None:
    journal, bus = Journal(), MemoryBus()
    feed, heard = await started(journal, bus)
    batch = journal.commit_many(3)
    feed.offer(batch, "local")
    await bus.publish(batch)
    feed.offer(Batch("epoch-1", 2, 2, batch.transactions[1:2]), "bus")
    assert heard.positions == [1, 2, 3]
    assert feed._early == {}
    await feed.close()


@in_virtual_time
async def test_a_hole_that_closes_in_time_costs_no_read() -> None:
    journal = Journal()
    feed, heard = await started(journal)
    first, second, third = (journal.commit() for _ in range(3))
    feed.offer(third, "bus")
    feed.offer(second, "bus")
    assert heard.positions == []
    await asyncio.sleep(HOLE_WAIT * 0.9)
    feed.offer(first, "bus")
    assert heard.positions == [1, 2, 3]
    await asyncio.sleep(HOLE_WAIT * 10)
    assert "page" not in journal.reads
    await feed.close()


@in_virtual_time
async def test_a_hole_that_stays_is_read_from_the_journal() -> None:
    journal = Journal()
    feed, heard = await started(journal)
    journal.commit()
    feed.offer(journal.commit(), "bus")
    await asyncio.sleep(HOLE_WAIT * 0.9)
    assert heard.positions == []
    await asyncio.sleep(HOLE_WAIT)
    assert heard.positions == [1, 2]
    await feed.close()


@in_virtual_time
async def test_without_a_word_of_the_bus_the_head_is_asked_every_second() -> None:
    journal = Journal()
    feed, heard = await started(journal)
    journal.commit_many(1_300)
    await asyncio.sleep(HEAD_INTERVAL + 0.1)
    assert heard.positions == list(range(1, 1_301))
    await feed.close()


@in_virtual_time
async def test_while_the_bus_is_down_the_head_is_asked_faster() -> None:
    journal = Journal()
    feed, heard = await started(journal, DownBus())
    journal.commit()
    await asyncio.sleep(HEAD_INTERVAL / 3)
    assert heard.positions == [1]
    await feed.close()


@in_virtual_time
async def test_commits_while_the_journal_is_read_are_not_repeated() -> None:
    journal = Journal()
    feed, heard = await started(journal)
    journal.commit()
    journal.after["page"] = lambda: feed.offer(late, "local")
    late = journal.commit()
    feed.offer(journal.commit(), "bus")
    await asyncio.sleep(HEAD_INTERVAL * 2)
    assert heard.positions == [1, 2, 3]
    await feed.close()


@in_virtual_time
async def test_another_epoch_is_ignored_until_the_database_has_it() -> None:
    journal = Journal()
    feed, heard = await started(journal)
    foreign = Journal("epoch-2")
    feed.offer(foreign.commit_many(5), "bus")
    await asyncio.sleep(HEAD_INTERVAL * 2)
    assert heard.positions == [] and heard.begun == [("epoch-1", 0)]

    journal.commit_many(2)
    journal.epoch = "epoch-2"
    await asyncio.sleep(HEAD_INTERVAL * 2)
    assert heard.begun == [("epoch-1", 0), ("epoch-2", 2)]
    feed.offer(journal.commit(), "bus")
    assert heard.positions == [3]
    await feed.close()


@in_virtual_time
async def test_a_batch_of_a_new_epoch_has_the_head_asked_for_soon() -> None:
    journal = Journal()
    feed, heard = await started(journal)
    journal.epoch = "epoch-2"
    feed.offer(journal.commit(), "bus")
    await asyncio.sleep(HEAD_INTERVAL / 4)
    assert heard.begun[-1] == ("epoch-2", 1)
    await feed.close()


@in_virtual_time
async def test_a_page_that_was_read_across_a_new_epoch_is_dropped() -> None:
    journal = Journal()
    feed, heard = await started(journal)
    journal.commit()

    def renew() -> None:
        journal.epoch = "epoch-2"

    journal.after["page"] = renew
    feed.offer(journal.commit(), "bus")
    await asyncio.sleep(HEAD_INTERVAL * 2)
    assert heard.positions == []
    assert heard.begun[-1] == ("epoch-2", 2)
    await feed.close()


@in_virtual_time
async def test_a_page_of_the_old_epoch_is_not_of_the_restored_journal() -> None:
    journal = Journal()
    feed, heard = await started(journal)
    journal.commit()

    def restore() -> None:
        journal.epoch = "epoch-2"
        journal.committed.clear()

    journal.after["page"] = restore
    feed.offer(journal.commit(), "bus")
    await asyncio.sleep(HEAD_INTERVAL * 2)
    assert heard.positions == []
    assert heard.begun[-1] == ("epoch-2", 0)
    await feed.close()


@in_virtual_time
async def test_it_goes_on_when_the_database_is_back() -> None:
    journal = Journal()
    feed, heard = await started(journal)
    journal.away = True
    journal.commit()
    feed.offer(journal.commit(), "bus")
    await asyncio.sleep(HEAD_INTERVAL * 5)
    assert heard.positions == []
    feed.offer(Batch("epoch-1", 1, 1, (journal.committed[0],)), "local")
    assert heard.positions == [1, 2]
    journal.commit()
    journal.away = False
    await asyncio.sleep(HEAD_INTERVAL * 2)
    assert heard.positions == [1, 2, 3]
    await feed.close()


@in_virtual_time
async def test_far_ahead_of_a_hole_little_is_kept() -> None:
    journal = Journal()
    feed, heard = await started(journal)
    journal.away = True
    journal.commit()
    for _ in range(30):
        feed.offer(journal.commit_many(500), "bus")
    assert len(feed._early) <= 10_000
    journal.away = False
    await asyncio.sleep(HEAD_INTERVAL * 2)
    assert heard.positions == list(range(1, 15_002))
    await feed.close()


@in_virtual_time
async def test_after_close_nothing_is_handed_on() -> None:
    journal = Journal()
    feed, heard = await started(journal)
    await feed.close()
    feed.offer(journal.commit(), "local")
    assert heard.positions == []


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[int, list[tuple[int, int, Source, float]]]:
    """A number of transactions, and batches of them: lost, repeated, reordered, with pauses."""
    total = draw(st.integers(1, 40))
    batch = st.integers(1, total).flatmap(
        lambda first: st.tuples(
            st.just(first),
            st.integers(first, min(total, first + 8)),
            st.sampled_from(SOURCES),
            st.sampled_from([0.0, 0.001, HOLE_WAIT, 1.5]),
        )
    )
    return total, draw(st.lists(batch, max_size=30))


@given(deliveries())
def test_whatever_the_bus_does_all_come_once_in_order(
    case: tuple[int, list[tuple[int, int, Source, float]]],
) -> None:
    total, batches = case

    @in_virtual_time
    async def run() -> None:
        journal = Journal()
        feed, heard = await started(journal)
        journal.commit_many(total)
        for first, last, source, pause in batches:
            transactions = tuple(journal.committed[first - 1 : last])
            feed.offer(Batch("epoch-1", first, last, transactions), source)
            assert heard.positions == list(range(1, feed.position + 1))
            await asyncio.sleep(pause)
        await asyncio.sleep(HEAD_INTERVAL * 2)
        assert heard.positions == list(range(1, total + 1))
        await feed.close()

    run()
