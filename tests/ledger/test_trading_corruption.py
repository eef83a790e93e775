"""Each fault put by hand into what is traded is found by verify under its own name, and mended."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tallywire.ledger import open_ledger
from tallywire.ledger.accounts import AccountKey
from tallywire.ledger.invariants import Discrepancy
from tallywire.ledger.proof.stored import StoredEntry, told_of
from tallywire.ledger.proof.told import check_updates
from tallywire.ledger.proof.trades import Around, Opening, moments
from tallywire.ledger.proof.trading_copies import (
    StoredTrade,
    TradeJournal,
    check_trade,
    quote_account,
)

from ..services.postgres import PostgresServer
from .conftest import ManualClock, transaction_id
from .raw import execute, rows
from .trading_written import (
    BOUGHT,
    CONTROL,
    END,
    ENDS,
    FORCED_END,
    LOST,
    OPEN,
    OPEN_IN_DEMO,
    PAIR,
    REFUNDED,
    REFUNDED_END,
    SOLD,
    TIED,
    WON,
    open_traded,
    write_trading,
)

SNAPSHOT = "SNAPSHOT=REPLAY"
SCREEN = "SCREEN=LEDGER"
ONCE = "REVERT_ONCE"
GAP = "SEQUENCE_GAP"
SEAL = "SEAL"

MAIN, DEMO, BOB = "main/alice/USDT", "demo/alice/USDT", "main/bob/USDT"
NOBODY = "-"
WON_END, LOST_END, CONTROLLED_END, TIED_END = ENDS

AGE = '"settlement_age_s":60'
TABLES = ("transactions", "postings", "seals", "prices")


@pytest.fixture(scope="module")
def traded_sqlite(tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path) -> Path:
    """A SQLite file with trades of every kind, open to any edit."""
    file = tmp_path_factory.mktemp("traded") / "tallywire.db"
    shutil.copyfile(_sqlite_template, file)
    url = f"sqlite+aiosqlite:///{file}"
    acts = ("update", "delete")
    dropped = [f"DROP TRIGGER {table}_no_{act}" for table in TABLES for act in acts]
    asyncio.run(_write(url, *dropped))
    return file


async def _write(url: str, *statements: str) -> None:
    clock = ManualClock()
    async with open_traded(url, clock) as manager:
        await write_trading(manager, clock)
        assert (await manager.reader.head()).position == END
    await execute(url, *statements)


@pytest.fixture
def traded_url(traded_sqlite: Path, tmp_path: Path) -> str:
    """A fresh copy of that file."""
    file = tmp_path / "tallywire.db"
    shutil.copyfile(traded_sqlite, file)
    return f"sqlite+aiosqlite:///{file}"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def kept_url(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    _postgres_template: str,
    postgres_server: PostgresServer,
) -> Iterator[str]:
    """The same on each database, whose every edit is mended again."""
    if request.param == "sqlite":
        file = tmp_path_factory.mktemp("kept") / "tallywire.db"
        shutil.copyfile(request.getfixturevalue("traded_sqlite"), file)
        yield f"sqlite+aiosqlite:///{file}"
    else:
        name = postgres_server.create_database(_postgres_template)
        url = postgres_server.url(name)
        asyncio.run(_write(url, *(f"DROP TRIGGER {t}_append_only ON {t}" for t in TABLES)))
        yield url
        postgres_server.drop_database(name)


class Fault(NamedTuple):
    """An edit, and what is found: the (invariant, account) pairs, and words of one `what`."""

    statements: tuple[str, ...]
    broken: set[tuple[str, str]]
    what: str = ""


def trade(assignment: str, position: int = WON) -> tuple[str]:
    """Edit the row of the trade that was opened at `position`."""
    return (f"UPDATE trades SET {assignment} WHERE position = {position}",)


def told(old: str, new: str, position: int) -> tuple[str]:
    """Edit what the transaction at `position` tells everybody."""
    old, new = (part.replace(":", "\\:") for part in (old, new))
    return (
        f"UPDATE transactions SET encoded = replace(encoded, '{old}', '{new}')"
        f" WHERE position = {position}",
    )


def of(position: int) -> str:
    """The id of the transaction at `position`, as SQL."""
    return f"(SELECT id FROM transactions WHERE position = {position})"


ROWS: dict[str, Fault] = {
    "position": Fault(trade("position = 99"), {(SNAPSHOT, MAIN)}, "position"),
    "user": Fault(trade("user_id = 'bob'"), {(SNAPSHOT, MAIN)}, "user_id"),
    "book": Fault(trade("book = 'demo'"), {(SNAPSHOT, MAIN)}, "book"),
    "pair": Fault(trade("pair = 'ETH-USDT'"), {(SNAPSHOT, MAIN)}, "pair"),
    "expiry": Fault(trade("expires_at = 'never'"), {(SNAPSHOT, MAIN)}, "expires_at"),
    "client order": Fault(trade("client_order_id = 'c9'"), {(SNAPSHOT, MAIN)}, "client_order_id"),
    "payout of an option that has ended": Fault(trade("payout = 1"), {(SNAPSHOT, MAIN)}, "payout"),
    "status of an option that has ended": Fault(
        trade("status = 'refunded'"), {(SNAPSHOT, MAIN)}, "status"
    ),
    "an option that has ended, open again": Fault(
        trade("status = 'open'"), {(SNAPSHOT, MAIN)}, "status"
    ),
    "an open option that is over": Fault(
        trade("status = 'settled'", OPEN), {(SNAPSHOT, MAIN)}, "status"
    ),
    "payout of an open option": Fault(trade("payout = 9", OPEN), {(SNAPSHOT, MAIN)}, "payout"),
    "forced": Fault(trade("forced = 0", OPEN_IN_DEMO), {(SNAPSHOT, DEMO)}, "forced"),
    "what is told": Fault(
        trade("told = replace(told, '\"win\"', '\"lose\"')"), {(SNAPSHOT, MAIN)}, "told"
    ),
    "what is told is nothing": Fault(trade("told = 'x'"), {(SNAPSHOT, MAIN)}, "told"),
    "a row deleted": Fault(
        (f"DELETE FROM trades WHERE position = {BOUGHT}",), {(SNAPSHOT, MAIN)}, "trade "
    ),
    "every row deleted": Fault(
        ("DELETE FROM trades",), {(SNAPSHOT, MAIN), (SNAPSHOT, DEMO)}, "trade "
    ),
    "a row that nothing opened": Fault(
        (
            "INSERT INTO trades (id, position, kind, user_id, book, pair, status, expires_at,"
            " payout, forced, told) SELECT 'x', position, kind, user_id, book, pair, status,"
            f" expires_at, payout, forced, told FROM trades WHERE position = {WON}",
        ),
        {(SNAPSHOT, NOBODY)},
        "that nothing opened",
    ),
    "an exposure": Fault(
        ("UPDATE exposures SET amount = amount + 5 WHERE book = 'main'",),
        {(SNAPSHOT, NOBODY)},
        "exposure of main to BTC-USDT",
    ),
    "an exposure deleted": Fault(
        ("DELETE FROM exposures",), {(SNAPSHOT, NOBODY)}, "exposure of demo to BTC-USDT"
    ),
    "an exposure of nothing": Fault(
        ("INSERT INTO exposures (book, pair, amount) VALUES ('main', 'ETH-USDT', 3)",),
        {(SNAPSHOT, NOBODY)},
        "exposure of main to ETH-USDT",
    ),
    "a control": Fault(
        ("UPDATE trading_controls SET mode = 'lose'",), {(SNAPSHOT, NOBODY)}, "control of alice"
    ),
    "the position of a control": Fault(
        ("UPDATE trading_controls SET position = 1",), {(SNAPSHOT, NOBODY)}, "control of alice"
    ),
    "a control deleted": Fault(
        ("DELETE FROM trading_controls",), {(SNAPSHOT, NOBODY)}, "control of alice"
    ),
    "a control that nothing set": Fault(
        ("INSERT INTO trading_controls (book, user_id, mode) VALUES ('demo', 'bob', 'lose')",),
        {(SNAPSHOT, NOBODY)},
        "control of bob in demo that nothing set",
    ),
    "the number of a ticker": Fault(
        ("UPDATE tickers SET number = 9",), {(SNAPSHOT, NOBODY)}, "ticker of BTC-USDT: number"
    ),
    "the price of a ticker": Fault(
        ("UPDATE tickers SET price = 9",), {(SNAPSHOT, NOBODY)}, "ticker of BTC-USDT: price"
    ),
    "the source of a ticker": Fault(
        ("UPDATE tickers SET source = 'simulated'",), {(SNAPSHOT, NOBODY)}, "ticker of BTC-USDT: s"
    ),
    "the stamp of a ticker": Fault(
        ("UPDATE tickers SET stamped_at = '2020'",), {(SNAPSHOT, NOBODY)}, "ticker of BTC-USDT: s"
    ),
    "when a ticker was read": Fault(
        ("UPDATE tickers SET read_at = '2020'",), {(SNAPSHOT, NOBODY)}, "ticker of BTC-USDT: read"
    ),
    "a ticker deleted": Fault(
        ("DELETE FROM tickers",), {(SNAPSHOT, NOBODY)}, "ticker of BTC-USDT: number"
    ),
}

KEPT = ("trades", "exposures", "trading_controls", "tickers")


async def test_every_row_that_is_wrong_is_found_and_mended(kept_url: str) -> None:
    before = await _kept(kept_url)
    async with open_ledger(kept_url, clock=ManualClock()) as manager:
        assert (await manager.verify()).details == []
        for name, fault in ROWS.items():
            await execute(kept_url, *fault.statements)
            report = await manager.verify(fix=True)
            assert _broken(report.details) == fault.broken, name
            assert any(fault.what in each.what for each in report.details), name
            assert (report.errors, report.fixed > 0) == (0, True), (name, report.details)
            assert await _kept(kept_url) == before, name
        assert (await manager.verify()).details == []


async def _kept(url: str) -> dict[str, list[str]]:
    """What is kept, apart from rows that say nothing."""
    kept = {table: await rows(url, f"SELECT * FROM {table}") for table in KEPT}
    nothing = {"amount": 0, "mode": "normal"}
    return {
        table: sorted(str(row) for row in found if not row.items() & nothing.items())
        for table, found in kept.items()
    }


def _broken(found: Iterable[Discrepancy]) -> set[tuple[str, str]]:
    return {(each.invariant.value, each.account) for each in found}


class Lie(NamedTuple):
    """An edit of what was told or stamped; the invariant, account and words of what is found."""

    statements: tuple[str, ...]
    invariant: str
    account: str
    what: str


def trade_told(position: int, old: str, new: str, what: str, account: str = MAIN) -> Lie:
    """An edit of the trade that the transaction at `position` tells."""
    return Lie(told(old, new, position), SCREEN, account, what)


LIES: dict[str, Lie] = {
    "the trade of a transaction": Lie(
        (f"UPDATE transactions SET trade = {of(LOST)} WHERE position = {WON_END}",),
        *(ONCE, NOBODY, "position of the end of trade"),
    ),
    "no trade": Lie(
        (f"UPDATE transactions SET trade = NULL WHERE position = {BOUGHT}",),
        *(SCREEN, NOBODY, "trade told to alice"),
    ),
    "a trade of a deposit": Lie(
        ("UPDATE transactions SET trade = id WHERE position = 1",),
        *(SCREEN, NOBODY, "trade told to alice"),
    ),
    "an end twice": Lie(
        (
            f"UPDATE transactions SET trade = {of(WON)}, encoded = replace(encoded,"
            f" {of(TIED)}, {of(WON)}) WHERE position = {TIED_END}",
        ),
        *(ONCE, NOBODY, "position of the end of trade"),
    ),
    "an end of nothing": Lie(
        (f"UPDATE transactions SET id = 'x' WHERE position = {WON}",),
        *(ONCE, NOBODY, "opening of trade"),
    ),
    "a type": Lie(
        (f"UPDATE transactions SET type = 'option_refunded' WHERE position = {TIED_END}",),
        *(SCREEN, NOBODY, "type of the trade"),
    ),
    "no trade to be read": trade_told(
        WON, '"stake":"10.000000"', '"stake":"ten"', "trade told to alice", NOBODY
    ),
    "a trade that its owner sees otherwise": Lie(
        (
            "UPDATE transactions SET encoded = substr(encoded, 1, instr(encoded, '74.074200') - 1)"
            " || '99.074200' || substr(encoded, instr(encoded, '74.074200') + 9)"
            f" WHERE position = {BOUGHT}",
        ),
        *(SCREEN, NOBODY, "trade shown to alice"),
    ),
    "an id": trade_told(BOUGHT, transaction_id(BOUGHT), "x", "trade: id"),
    "a user": trade_told(
        BOUGHT, '"user_id":"alice","book"', '"user_id":"bob","book"', "trade: user_id", BOB
    ),
    "a book": trade_told(
        WON, '"book":"main","pair"', '"book":"demo","pair"', "leg of the trade", DEMO
    ),
    "a spot price": trade_told(BOUGHT, "60000.00", "61000.00", "trade: price"),
    "a spot price that changes no amount": trade_told(SOLD, "60000.00", "60000.01", "trade: price"),
    "a price's source": trade_told(WON, "pushed", "simulated", "trade: price_source"),
    "a base amount": trade_told(
        BOUGHT, "0.00123457", "0.00123458", "leg of the trade", "main/alice/BTC"
    ),
    "a quote amount": trade_told(BOUGHT, "74.074200", "74.074201", "trade: quote_amount"),
    "a fee": trade_told(BOUGHT, '"fee":"0.074075"', '"fee":"0.074074"', "leg of the trade"),
    "a stake": trade_told(WON, '"10.000000"', '"9.000000"', "leg of the trade"),
    "a payout": trade_told(WON, '"8.000000"', '"9.000000"', "trade: payout"),
    "a payout at its end": trade_told(WON_END, '"8.000000"', '"9.000000"', "leg of the trade"),
    "a rate": trade_told(WON, "0.8000", "0.9000", "trade: payout"),
    "an expiry": trade_told(WON, "T12:00:31", "T12:00:41", "trade: expires_at"),
    "an open price": trade_told(WON, "60000.00", "60000.50", "trade: open_price"),
    "an open price at its end": trade_told(WON_END, "60000.00", "60000.50", "trade: open_price"),
    "a settle price": trade_told(WON_END, "60001.00", "60002.00", "trade: settle_price"),
    "an outcome": trade_told(WON_END, '"win"', '"lose"', "trade: outcome"),
    "a direction": trade_told(WON_END, '"up"', '"down"', "trade: direction"),
    "an end that an opening tells": trade_told(
        WON, '"outcome":null', '"outcome":"win"', "trade: outcome"
    ),
    "a reason of what was settled": trade_told(
        WON_END, '"reason":null', '"reason":"none"', "trade: reason"
    ),
    "how old its price might be": trade_told(
        WON_END, '"settlement_age_s":60', '"settlement_age_s":61', "trade: settlement_age_s"
    ),
    "where its price is from": trade_told(
        WON_END, '"settle_source":"pushed"', '"settle_source":"simulated"', "trade: settle_source"
    ),
    "a refund though there was a price": Lie(
        (
            *told(AGE, '"settlement_age_s":999', REFUNDED),
            *told(AGE, '"settlement_age_s":999', REFUNDED_END),
        ),
        SCREEN,
        MAIN,
        "trade: status",
    ),
    "a settlement by a price that was too old": Lie(
        (*told(AGE, '"settlement_age_s":1', WON), *told(AGE, '"settlement_age_s":1', WON_END)),
        SCREEN,
        MAIN,
        "trade: status",
    ),
    "an outcome of what was refunded": trade_told(
        REFUNDED_END, '"outcome":null', '"outcome":"win"', "trade: outcome"
    ),
    "a stake of what was refunded": trade_told(
        REFUNDED_END, '"40.000000"', '"41.000000"', "trade: stake"
    ),
    "an opening of what was refunded": trade_told(
        REFUNDED, '"40.000000"', '"41.000000"', "leg of the trade"
    ),
    "a forced end of real money": trade_told(
        LOST_END, '"forced":false', '"forced":true', "trade: forced outside of the demo book"
    ),
    "a controlled option of real money": trade_told(
        LOST,
        '"forced":false',
        '"forced":true,"control":"lose"',
        "trade: control outside of the demo book",
    ),
    "a control that did not force": trade_told(
        CONTROLLED_END, '"forced":true', '"forced":false', "trade: forced", DEMO
    ),
    "a control that was not there": trade_told(
        FORCED_END, '"control":"win"', '"control":"lose"', "trade: control", DEMO
    ),
    "the price of a forced end": trade_told(
        FORCED_END,
        '"settle_price":"60000.00"',
        '"settle_price":"1.00"',
        "trade: settle_price",
        DEMO,
    ),
    "a control of real money": Lie(
        told('"book":"demo"', '"book":"main"', CONTROL),
        *(SCREEN, NOBODY, "control of alice outside of the demo book"),
    ),
    "a mode": Lie(
        told('"mode":"win"', '"mode":"always"', CONTROL), SCREEN, NOBODY, "control of alice"
    ),
    "a mode that its user sees otherwise": Lie(
        (
            "UPDATE transactions SET encoded = substr(encoded, 1, instr(encoded, 'win') - 1)"
            " || 'lose' || substr(encoded, instr(encoded, 'win') + 3)"
            f" WHERE position = {CONTROL}",
        ),
        *(SCREEN, NOBODY, "control shown to alice"),
    ),
    "a control that a deposit tells": Lie(
        told('"changes":[', '"control":{"mode":"win","book":"demo"},"changes":[', 2),
        *(SCREEN, NOBODY, "control of alice: type"),
    ),
    "an amount that was moved": Lie(
        (f"UPDATE postings SET amount = amount + 1 WHERE position = {LOST_END} AND amount < 0",),
        *(SCREEN, "main/@escrow/USDT", "leg of the trade"),
    ),
    "the number of a price": Lie(
        ("UPDATE prices SET number = 9 WHERE number = 4",), GAP, NOBODY, "number of a price"
    ),
    "a price deleted": Lie(
        ("DELETE FROM prices WHERE number = 1",), GAP, NOBODY, "number of a price"
    ),
    "the stamp of a price": Lie(
        ("UPDATE prices SET stamped_at = '2100-03-01T12\\:00\\:00.500000Z' WHERE number = 2",),
        *(GAP, NOBODY, "stamp of price 2"),
    ),
    "a price that was settled by": Lie(
        ("UPDATE prices SET price = 6000000 WHERE number = 2",),
        *(SCREEN, MAIN, "trade: settle_price"),
    ),
    "a price that was traded by": Lie(
        ("UPDATE prices SET price = 5999999 WHERE number = 1",), SCREEN, MAIN, "trade: open_price"
    ),
    "a price of no pair": Lie(
        (
            "INSERT INTO prices SELECT 'DOGE-USDT', 1, price, source, actor, told_at, stamped_at"
            " FROM prices WHERE number = 1",
        ),
        *(SNAPSHOT, NOBODY, "pair of prices"),
    ),
}


@pytest.mark.parametrize("name", LIES)
async def test_what_is_told_of_trades_is_proven(traded_url: str, name: str) -> None:
    lie = LIES[name]
    await execute(traded_url, *lie.statements)
    async with open_ledger(traded_url, clock=ManualClock()) as manager:
        found = (await manager.verify(fix=True)).details
    assert (lie.invariant, lie.account) in _broken(e for e in found if lie.what in e.what)
    hashed = any("transactions" in each or "postings" in each for each in lie.statements)
    assert ((SEAL, NOBODY) in _broken(found)) == hashed
    assert not any(each.fixed for each in found if each.invariant in (SCREEN, ONCE, GAP, SEAL))


async def test_a_hole_in_the_prices_is_known_until_all_are_looked_at(traded_url: str) -> None:
    await execute(traded_url, "DELETE FROM prices WHERE number = 1")
    async with open_ledger(traded_url, clock=ManualClock()) as manager:
        await manager.verify()
        await manager.rebuild()
        known = [(e.invariant, e.what, e.stored, e.actual) for e in await manager.discrepancies()]
        assert known == [(GAP, f"number of a price of {PAIR}", "2", "1")]


NONSENSE: tuple[Any, ...] = (
    None,
    5,
    -1,
    "",
    "x",
    "1e9",
    [],
    {},
    ["BTC-USDT"],
    True,
    "9" * 40,
    "\ud800",
    "\x00",
)


async def test_no_nonsense_stops_a_verification(traded_url: str) -> None:
    """Any value in any field of what is told is found, not stumbled over."""
    transactions = await rows(traded_url, "SELECT * FROM transactions ORDER BY position")
    postings = await rows(
        traded_url,
        "SELECT a.book, a.owner, a.asset, p.* FROM postings p JOIN accounts a ON a.id = account_id",
    )
    async with open_ledger(traded_url) as manager:
        catalog = manager.catalog
    ends = {row["trade"]: row["position"] for row in transactions if row["trade"] != row["id"]}
    openings = {
        row["id"]: Opening(row["position"], row["encoded"], ends.get(row["id"]))
        for row in transactions
    }
    for position in (CONTROL, BOUGHT, WON, WON_END, REFUNDED_END):
        record = transactions[position - 1]
        legs = [
            (AccountKey(p.pop("book"), p.pop("owner"), p.pop("asset")), StoredEntry(**p))
            for p in (dict(p) for p in postings if p["position"] == position)
        ]
        first, admin, *bodies = record["encoded"].split("\n")
        name = "control" if position == CONTROL else "trade"
        fields = json.loads(admin)
        for field in fields[name]:
            for value in NONSENSE:
                edited = json.dumps({**fields, name: {**fields[name], field: value}})
                forged = {**record, "encoded": "\n".join((first, edited, *bodies))}
                found = list(check_updates(forged, legs, Around(openings), catalog))
                assert (fields[name][field] == value) == (not found), (field, value)
                told = told_of(forged["encoded"], "trade")
                journal = TradeJournal(record["id"], position, position, told)
                row = StoredTrade._make([None] * (len(StoredTrade._fields) - 1) + ["{}"])
                account = quote_account(told, catalog) or AccountKey("main", "alice", "USDT")
                assert list(check_trade(account, row, journal, catalog))
                list(moments(forged))
