"""Repair of what trading keeps: of one user, from sound transactions only, while all goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tallywire.ledger import BalanceManager, SystemClock
from tallywire.ledger.history import JournalReader
from tallywire.ledger.journal import Journal
from tallywire.ledger.mirrors.check import MirrorCheck
from tallywire.ledger.proof import account_pages, journal_pages, trading_pages
from tallywire.ledger.proof.verify import Verifier

from .conftest import ManualClock
from .oracle import examine
from .raw import execute, rows
from .test_verify import BusyDatabase
from .trading_written import LOST, PAIR, REFUNDED, REFUNDED_END, WON, open_traded, write_trading


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def manager(database_url: str, clock: ManualClock) -> AsyncIterator[BalanceManager]:
    """Alice's trades of every kind, and a control, a spot order and an option of bob's in demo."""
    async with open_traded(database_url, clock) as opened:
        await write_trading(opened, clock)
        await opened.update_balance("bob", "100", "deposit", book="demo")
        await opened.trading.set_control("bob", "lose")
        await opened.trading.spot_order("bob", PAIR, "buy", base_amount="0.0001", book="demo")
        await opened.trading.open_option("bob", PAIR, "up", "1", 300, book="demo")
        yield opened


async def test_one_user_is_mended_alone(manager: BalanceManager, database_url: str) -> None:
    await execute(
        database_url,
        "DELETE FROM trades WHERE kind = 'spot'",
        "DELETE FROM trading_controls",
        "INSERT INTO trades (id, position, kind, user_id, book, pair, status, forced, told)"
        " VALUES ('x', 1, 'spot', 'alice', 'main', 'BTC-USDT', 'filled', 0, '{}'),"
        " ('y', 1, 'spot', 'bob', 'demo', 'BTC-USDT', 'filled', 0, '{}')",
    )
    report = await manager.verify(fix=True, user_id="alice")
    assert (report.fixed, report.errors) == (4, 0)
    left = {each.what.split(": ")[0] for each in (await manager.verify()).details}
    assert {"control of bob in demo", "trade y of bob in demo that nothing opened"} < left
    assert len(left) == 3
    assert (await manager.verify(fix=True, book="main")).details == []
    assert (await manager.verify(fix=True, book="demo")).errors == 0
    assert (await manager.verify()).details == []
    await examine(database_url)


async def test_the_user_is_told_and_the_audit_names_it(
    manager: BalanceManager, database_url: str
) -> None:
    await execute(database_url, "UPDATE trading_controls SET mode = 'win' WHERE user_id = 'bob'")
    await manager.verify(fix=True, actor="root")
    (newest,) = await manager.reader.transactions(None, 1)
    assert newest.committed.users() == ("bob",)
    view = newest.view("e")
    assert (view["change_type"], view["actor"], view["postings"]) == ("repair", "root", [])
    (audited,) = await rows(database_url, "SELECT * FROM audit WHERE action = 'repair'")
    assert (audited["actor"], audited["target"]) == ("root", "bob")


async def test_rebuild_puts_everything_right(manager: BalanceManager, database_url: str) -> None:
    tables = ("trades", "exposures", "trading_controls", "tickers")
    before = {table: await rows(database_url, f"SELECT * FROM {table}") for table in tables}
    await execute(database_url, *(f"DELETE FROM {table}" for table in tables))
    first = await manager.rebuild()
    assert (first.errors, first.fixed > 0) == (0, True)
    for table, there in before.items():
        again = await rows(database_url, f"SELECT * FROM {table}")
        assert sorted(map(str, again)) == sorted(map(str, there))
    assert (await manager.rebuild()).details == []


async def test_an_option_whose_row_was_lost_is_settled_once_it_is_back(
    manager: BalanceManager, clock: ManualClock, database_url: str
) -> None:
    await execute(database_url, "DELETE FROM trades WHERE status = 'open' AND book = 'main'")
    clock.move(seconds=301)
    assert await manager.trading.settle_due() == 2
    await manager.verify(fix=True)
    assert await manager.trading.settle_due() == 1
    assert (await manager.verify()).details == []
    assert {row["amount"] for row in await rows(database_url, "SELECT * FROM exposures")} == {0}


UNSOUND = {
    # What is told of the opening, so that the row says something else than it.
    "an opening that was edited": (
        "UPDATE transactions SET encoded = replace(encoded, '8.000000', '9.000000')"
        f" WHERE trade = (SELECT id FROM transactions WHERE position = {WON})",
        WON,
    ),
    # The end, whose only witness is the row.
    "an end that was taken away": (
        f"DELETE FROM transactions WHERE position = {REFUNDED_END}",
        REFUNDED,
    ),
}


@pytest.mark.parametrize("name", UNSOUND)
async def test_rows_are_not_repaired_from_a_journal_that_was_altered(
    name: str, manager: BalanceManager, database_url: str
) -> None:
    statement, position = UNSOUND[name]
    if database_url.startswith("sqlite"):
        acts = ("update", "delete")
        await execute(database_url, *(f"DROP TRIGGER transactions_no_{act}" for act in acts))
    else:
        await execute(database_url, "DROP TRIGGER transactions_append_only ON transactions")
    await execute(
        database_url,
        statement,
        f"UPDATE trades SET client_order_id = 'mine' WHERE position = {LOST}",
    )
    query = f"SELECT * FROM trades WHERE position = {position}"
    before = await rows(database_url, query)
    for user in (None, "alice"):
        assert (await manager.verify(fix=True, user_id=user)).errors > 0
        assert await rows(database_url, query) == before
    mended = await rows(database_url, f"SELECT * FROM trades WHERE position = {LOST}")
    # A hole may have had anybody's newest in it; an edit is of what it is in.
    assert (mended[0]["client_order_id"] == "c2") == (name == "an opening that was edited")


async def test_nothing_is_found_between_two_statements(
    manager: BalanceManager,
    clock: ManualClock,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever is traded, settled, controlled and priced while a verification goes on."""
    monkeypatch.setattr(account_pages, "ENTRIES_PER_PAGE", 8)
    monkeypatch.setattr(journal_pages, "TRANSACTIONS_PER_PAGE", 8)
    monkeypatch.setattr(trading_pages, "ROWS_PER_PAGE", 8)
    monkeypatch.setattr(trading_pages, "PRICES_PER_PAGE", 3)
    turn = 0

    async def traffic() -> None:
        nonlocal turn
        turn += 1
        trading = manager.trading
        if turn % 4 == 0:
            clock.move(seconds=12)
            await manager.prices.push(PAIR, f"{60_000 + turn % 3}.00", actor="feed")
            await trading.settle_due()
        elif turn % 4 == 1:
            await trading.set_control("bob", "win" if turn % 8 == 1 else "normal")
            await trading.open_option("bob", PAIR, "up", "0.1", 30, book="demo")
        elif turn % 4 == 2:
            await trading.open_option("alice", PAIR, "up", "0.1", 30)
        else:
            await trading.spot_order("alice", PAIR, "buy", base_amount="0.00001")

    database = BusyDatabase(database_url, traffic)
    try:
        journal = Journal(database.dialect)
        reader = JournalReader(database, journal, SystemClock())
        report = await Verifier(
            database, journal, reader, MirrorCheck(database, journal), manager.types
        ).verify()
    finally:
        await database.close()
    assert report.details == []
    assert turn > 20
    assert (await manager.verify()).details == []
