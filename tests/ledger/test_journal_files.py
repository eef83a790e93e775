"""Export and import: the same journal elsewhere, and nothing of a file that is not whole."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest
from tallywire.ledger import (
    BalanceManager,
    exporting,
    import_journal,
    importing,
    journal_lines,
    open_ledger,
    schema,
)
from tallywire.ledger.catalog import Book
from tallywire.ledger.digest import GENESIS
from tallywire.ledger.errors import IdempotencyKeyReused
from tallywire.ledger.importing import NotEmpty
from tallywire.ledger.trading.pairs import Pair

from .journal_files import contents, exported, parsed, write_all
from .oracle import examine
from .raw import rows


@pytest.fixture
async def source_url(database_url: str) -> str:
    """A ledger that holds a change of every kind."""
    async with open_ledger(database_url) as manager:
        await write_all(manager)
    return database_url


@pytest.fixture(params=["sqlite", "postgresql"])
def target_url(request: pytest.FixtureRequest) -> str:
    """An empty database on each of the two."""
    fixture = {"sqlite": "empty_sqlite_url", "postgresql": "empty_postgres_url"}[request.param]
    url: str = request.getfixturevalue(fixture)
    return url


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages, chunks and memory so small that each is left and entered several times."""
    monkeypatch.setattr(exporting, "TRANSACTIONS_PER_PAGE", 3)
    monkeypatch.setattr(exporting, "ROWS_PER_PAGE", 1)
    monkeypatch.setattr(importing, "TRANSACTIONS_PER_CHUNK", 3)
    monkeypatch.setattr(importing, "MOST_ACCOUNTS", 2)


def test_a_line_has_every_column_of_its_table() -> None:
    """A column that is missing here would not be in any backup: give it a field and a version."""
    columns = {
        name: tuple(column.name for column in table.columns)
        for name, table in schema.metadata.tables.items()
    }
    assert columns["transactions"] == journal_lines.TRANSACTION_COLUMNS
    assert columns["postings"][2:] == journal_lines.POSTING_COLUMNS
    assert columns["seals"] == journal_lines.Seal.__struct_fields__
    assert columns["audit"][1:] == journal_lines.Audit.__struct_fields__
    assert columns["revocations"] == journal_lines.Revocation.__struct_fields__
    assert columns["assets"] == ("code", "scale")
    assert columns["books"] == Book.__struct_fields__
    assert columns["pairs"] == Pair.__struct_fields__
    assert columns["prices"] == journal_lines.Price.__struct_fields__


@pytest.mark.usefixtures("small_pages")
async def test_the_same_journal_on_either_database(source_url: str, target_url: str) -> None:
    file = await exported(source_url)
    imported = await import_journal(target_url, io.BytesIO(file), actor="root")
    assert await examine(target_url) == imported.position

    again = await exported(target_url)
    before, after = parsed(file)[0], parsed(again)[0]
    assert after == {**before, "epoch": imported.epoch}
    assert imported.epoch != before["epoch"]
    journal, copy = parsed(file)[1:-1], parsed(again)[1:-1]
    (noted,) = [line for line in copy if line not in journal]
    assert (noted["actor"], noted["action"]) == ("root", "journal_imported")
    assert [line for line in copy if line != noted] == journal

    for table in ("holds", "accounts"):
        theirs = await rows(source_url, f"SELECT * FROM {table}")
        ours = await rows(target_url, f"SELECT * FROM {table}")
        assert _without_ids(ours) == _without_ids(theirs)
    async with open_ledger(target_url) as manager:
        assert (await manager.verify()).errors == 0
        await _goes_on(manager)
    await examine(target_url)


def _without_ids(found: list[dict[str, Any]]) -> list[str]:
    dropped = ("account_id",) if "account_id" in found[0] else ("id",)
    return sorted(str({k: v for k, v in row.items() if k not in dropped}) for row in found)


async def _goes_on(manager: BalanceManager) -> None:
    """What was asked once is not done twice, open holds are confirmed, new accounts are made."""
    assert (await manager.update_balance("Zoë~/%", "5", "deposit", idempotency_key="gift")).replayed
    with pytest.raises(IdempotencyKeyReused):
        await manager.update_balance("Zoë~/%", "6", "deposit", idempotency_key="gift")
    part, whole = await manager.reader.holds("bob", "open", None, 10)
    assert (part.amount, part.remaining, whole.reference) == (3_000_000, 2_000_000, "h-open")
    await manager.confirm_hold(part.id)
    await manager.void_hold(whole.id)
    await manager.update_balance("newcomer", "1", "deposit")
    assert await manager.get_balance("newcomer") == 1


async def test_an_empty_journal_carries_its_settings(database_url: str, target_url: str) -> None:
    async with open_ledger(database_url) as manager:
        await manager.administration.put_asset("GBP", scale=3, actor="root")
        await manager.administration.put_book("rent", {"side": "debit"}, actor="root")
    imported = await import_journal(target_url, io.BytesIO(await exported(database_url)))
    assert (imported.position, imported.seal) == (0, GENESIS)
    async with open_ledger(target_url) as manager:
        assert manager.catalog.assets["GBP"].scale == 3
        assert manager.catalog.books["rent"].side == "debit"
        assert (await manager.verify()).errors == 0


async def test_statistics_are_there_after_an_import(
    sqlite_url: str, empty_postgres_url: str
) -> None:
    async with open_ledger(sqlite_url) as manager:
        await write_all(manager)
    await import_journal(empty_postgres_url, io.BytesIO(await exported(sqlite_url)))
    found = await rows(
        empty_postgres_url,
        "SELECT relname FROM pg_class WHERE relname IN ('transactions', 'postings', 'accounts')"
        " AND reltuples > 0",
    )
    assert len(found) == 3


async def test_an_export_ends_at_the_head_that_it_found(
    database_url: str, empty_sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "TRANSACTIONS_PER_PAGE", 2)
    output = io.BytesIO()
    async with open_ledger(database_url) as manager:
        await write_all(manager)
        head = (await manager.reader.head()).position
        stop = asyncio.Event()

        async def traffic() -> None:
            while not stop.is_set():
                await manager.update_balance("carol", "1", "deposit")
                await manager.update_balance(f"user-{head}", "1", "deposit", asset="COIN")

        going = asyncio.create_task(traffic())
        await manager.update_balance("carol", "1", "deposit")
        done = await manager.export_journal(output.write)
        stop.set()
        await going
        assert (await manager.reader.head()).position > done.position > head
    output.seek(0)
    imported = await import_journal(empty_sqlite_url, output)
    assert (imported.position, imported.seal) == (done.position, done.seal)
    assert await examine(empty_sqlite_url) == done.position


async def test_only_an_empty_ledger_takes_a_journal_in(source_url: str, target_url: str) -> None:
    file = await exported(source_url)
    await import_journal(target_url, io.BytesIO(file))
    before = await contents(target_url)
    with pytest.raises(NotEmpty):
        await import_journal(target_url, io.BytesIO(file))
    assert await contents(target_url) == before


async def test_a_ledger_whose_settings_were_changed_is_not_empty(
    source_url: str, target_url: str
) -> None:
    async with open_ledger(target_url) as manager:
        await manager.administration.put_book("rent", {"side": "debit"}, actor="root")
    with pytest.raises(NotEmpty):
        await import_journal(target_url, io.BytesIO(await exported(source_url)))


class _Breaks(io.BytesIO):
    """A file that cannot be read to its end."""

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if b'"line":"audit"' in line:
            raise ConnectionError("the link broke")
        return line


async def test_an_interrupted_import_leaves_nothing(source_url: str, target_url: str) -> None:
    file = await exported(source_url)
    async with open_ledger(target_url):
        pass
    before = await contents(target_url)
    with pytest.raises(Exception, match="the link broke"):
        await import_journal(target_url, _Breaks(file))
    assert await contents(target_url) == before
    await import_journal(target_url, io.BytesIO(file))
    await examine(target_url)
