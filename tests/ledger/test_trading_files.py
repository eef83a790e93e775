"""Export and import of what is traded: pairs, prices, and what follows from them."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tallywire.ledger import BalanceManager, import_journal, importing, open_ledger
from tallywire.ledger.importing import FileRefused, NotEmpty
from tallywire.ledger.trading.price_rows import PriceRows

from .conftest import ManualClock, transaction_id
from .journal_files import Lines, closed, contents, exported, parsed, resealed, written
from .oracle import examine
from .raw import execute, rows
from .trading_written import (
    BOUGHT,
    CONTROL,
    END,
    ENDS,
    FORCED,
    FORCED_END,
    LOST,
    OPEN,
    SOLD,
    WON,
    open_traded,
    write_trading,
)

# Exported before there was trading: no pairs, no prices, no column for trades.
BEFORE_TRADING = Path(__file__).parent / "journal_before_trading.jsonl"


async def write_prices(url: str) -> None:
    """Prices of two pairs, one of another's settings, and a transaction."""
    clock = ManualClock()
    async with open_ledger(url, clock=clock) as manager:
        await push(manager, clock, "BTC-USDT", 6_000_000, 6_000_100, 5_999_900)
        await push(manager, clock, "ETH-USDT", 300_000)
        await manager.update_balance("alice", "100", "deposit")
    await execute(url, "UPDATE pairs SET fee_bps = 25 WHERE pair = 'ETH-USDT'")


async def push(manager: BalanceManager, clock: ManualClock, pair: str, *prices: int) -> None:
    """Prices of `pair`, a second after each other."""
    table = PriceRows(manager.database.dialect)
    for price in prices:
        clock.move(seconds=1)
        async with manager.database.write() as connection:
            ticker = (await table.lock(connection, [pair]))[pair]
            await table.append(
                connection, pair, ticker, price, source="pushed", actor="root", now=clock.now()
            )


async def test_pairs_and_prices_go_along(database_url: str, empty_sqlite_url: str) -> None:
    await write_prices(database_url)
    file = await exported(database_url)
    imported = await import_journal(empty_sqlite_url, io.BytesIO(file))
    assert await examine(empty_sqlite_url) == imported.position
    for table, order in (("pairs", "pair"), ("prices", "pair, number"), ("tickers", "pair")):
        query = f"SELECT * FROM {table} ORDER BY {order}"
        theirs = await rows(database_url, query)
        assert theirs
        assert await rows(empty_sqlite_url, query) == theirs
    async with open_ledger(empty_sqlite_url) as manager:
        assert manager.catalog.pairs["ETH-USDT"].fee_bps == 25


async def test_a_journal_from_before_trading_is_taken_in_as_it_is(
    empty_sqlite_url: str, empty_postgres_url: str
) -> None:
    before = parsed(BEFORE_TRADING.read_bytes())
    for url in (empty_sqlite_url, empty_postgres_url):
        with BEFORE_TRADING.open("rb") as file:
            imported = await import_journal(url, file)
        assert imported.seal == before[0]["seal"]
        assert await examine(url) == imported.position
        journal = [line for line in before if line["line"] in ("seal", "transaction")]
        again = parsed(await exported(url))
        assert [line for line in again if line["line"] in ("seal", "transaction")] == journal
        async with open_ledger(url) as manager:
            assert sorted(manager.catalog.pairs) == ["BTC-USDT", "ETH-USDT"]
            assert (await manager.verify()).errors == 0


async def test_pairs_whose_assets_an_old_file_lacks_are_not_made(empty_sqlite_url: str) -> None:
    lines = parsed(BEFORE_TRADING.read_bytes())
    lines[0]["assets"].pop("ETH")
    lines[0]["assets"]["BTC"] = 5
    await import_journal(empty_sqlite_url, io.BytesIO(closed(lines)))
    async with open_ledger(empty_sqlite_url) as manager:
        assert manager.catalog.pairs == {}


async def test_a_ledger_that_has_prices_is_not_empty(sqlite_url: str) -> None:
    clock = ManualClock()
    async with open_ledger(sqlite_url, clock=clock) as manager:
        await push(manager, clock, "BTC-USDT", 1)
    with BEFORE_TRADING.open("rb") as file, pytest.raises(NotEmpty):
        await import_journal(sqlite_url, file)


def _prices(lines: Lines) -> Lines:
    return [line for line in lines if line["line"] == "price"]


DAMAGE: dict[str, tuple[Callable[[Lines], Any], str]] = {
    "a price left out": (lambda lines: lines.remove(_prices(lines)[1]), "line 3: SEQUENCE_GAP"),
    "a price twice": (
        lambda lines: lines.insert(2, dict(_prices(lines)[0])),
        "line 3: SEQUENCE_GAP",
    ),
    "a stamp that does not rise": (
        lambda lines: _prices(lines)[1].update(stamped_at=_prices(lines)[0]["stamped_at"]),
        "line 3: SEQUENCE_GAP: stamp",
    ),
    "a price of no pair": (
        lambda lines: _prices(lines)[3].update(pair="DOGE-USDT"),
        "line 5: SNAPSHOT=REPLAY: pair",
    ),
    "a price of nothing": (lambda lines: _prices(lines)[3].update(price=0), "price_positive"),
    "a price without its line": (lambda lines: lines.remove(_prices(lines)[3]), "4 prices"),
    "a pair of other assets": (
        lambda lines: lines[0]["pairs"][0].update(base="ETH"),
        "no pair: 'BTC-USDT'",
    ),
    "a pair of no asset": (lambda lines: lines[0]["assets"].pop("BTC"), "no pair: 'BTC-USDT'"),
    "a pair without a minimum": (
        lambda lines: lines[0]["pairs"][0].update(minimum=0),
        "minimum_positive",
    ),
    "a pair that trades by no price": (
        lambda lines: lines[0]["pairs"][0].update(settlement_age_s=-1),
        "no pair: 'BTC-USDT'",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
async def test_damaged_prices_and_pairs_are_refused(
    name: str, prices_file: bytes, sqlite_url: str
) -> None:
    damage, why = DAMAGE[name]
    lines = parsed(prices_file)
    damage(lines)
    file = written(lines) if name == "a price without its line" else closed(lines)
    before = await contents(sqlite_url)
    with pytest.raises(FileRefused, match=why):
        await import_journal(sqlite_url, io.BytesIO(file))
    assert await contents(sqlite_url) == before


@pytest.fixture(scope="module")
def prices_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file with prices."""
    url = f"sqlite:///{tmp_path_factory.mktemp('prices')}/ledger.db"

    async def make() -> bytes:
        await write_prices(url)
        return await exported(url)

    file = asyncio.run(make())
    assert parsed(file)[-1]["prices"] == 4
    return file


# What is traded


@pytest.mark.usefixtures("small_chunks")
async def test_what_trading_keeps_arises_anew_from_the_journal(
    database_url: str, empty_sqlite_url: str, empty_postgres_url: str
) -> None:
    clock = ManualClock()
    async with open_traded(database_url, clock) as manager:
        await write_trading(manager, clock)
    target = empty_postgres_url if database_url.startswith("sqlite") else empty_sqlite_url
    file = await exported(database_url)
    imported = await import_journal(target, io.BytesIO(file))
    assert await examine(target) == imported.position == END
    for table in ("trades", "exposures", "trading_controls", "tickers"):
        query = f"SELECT * FROM {table} ORDER BY 1, 2"
        theirs = await rows(database_url, query)
        assert theirs
        assert await rows(target, query) == theirs, table
    clock.move(seconds=301)
    async with open_traded(target, clock, END) as manager:
        assert (await manager.verify()).details == []
        assert await manager.trading.settle_due() == 2
        assert await manager.trading.settle_due() == 0
        assert (await manager.verify()).details == []


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks so small that an option ends in another one than it opens in."""
    monkeypatch.setattr(importing, "TRANSACTIONS_PER_CHUNK", 3)


@pytest.fixture(scope="module")
def traded_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file with trades of every kind."""
    url = f"sqlite:///{tmp_path_factory.mktemp('traded')}/ledger.db"

    async def make() -> bytes:
        clock = ManualClock()
        async with open_traded(url, clock) as manager:
            await write_trading(manager, clock)
        return await exported(url)

    return asyncio.run(make())


def tell(position: int, old: str, new: str) -> Callable[[Lines], None]:
    """Another telling of what the transaction at `position` did."""

    def forge(lines: Lines) -> None:
        (line,) = (line for line in lines if line.get("position") == position and "encoded" in line)
        assert old in line["encoded"]
        line["encoded"] = line["encoded"].replace(old, new)

    return forge


def change(position: int, **columns: Any) -> Callable[[Lines], None]:
    """Other values in the columns of the transaction at `position`."""

    def forge(lines: Lines) -> None:
        (line,) = (line for line in lines if line.get("position") == position and "encoded" in line)
        line.update(columns)

    return forge


WON_END = ENDS[0]

# Files whose hashes and seals all fit.
FORGERIES: dict[str, tuple[Callable[[Lines], None], str]] = {
    "a higher fee than was paid": (
        tell(BOUGHT, '"0.074075"', '"0.074076"'),
        "leg of the trade of main/@fees/USDT",
    ),
    "another price than there was": (tell(SOLD, "60000.00", "60000.01"), "trade: price"),
    "a higher payout": (tell(WON, '"8.000000"', '"9.000000"'), "trade: payout"),
    "another outcome": (tell(WON_END, '"win"', '"tie"'), "trade: outcome"),
    "another stake at its end": (tell(WON_END, '"10.000000"', '"11.000000"'), "trade: stake"),
    "an end of another trade": (
        change(WON_END, trade=transaction_id(LOST)),
        "trade: client_order_id",
    ),
    "an end of no trade": (change(WON_END, trade="x"), "REVERT_ONCE: opening of trade x"),
    "a trade without its name": (change(OPEN, trade=None), "trade told to alice"),
    "a trade that is none": (tell(OPEN, '"stake":"7.000000"', '"stake":7'), "trade told to alice"),
    "a mode that is none": (tell(CONTROL, '"win"', '"always"'), "control of alice"),
    "a forced end that was not forced": (
        tell(FORCED_END, '"forced":true', '"forced":false'),
        "trade: forced",
    ),
    "an option controlled by nothing told": (
        tell(FORCED, ',"control":"win"', ""),
        "trade: forced",
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_trades_that_do_not_fit_are_refused(
    name: str, traded_file: bytes, sqlite_url: str
) -> None:
    forge, why = FORGERIES[name]
    lines = parsed(traded_file)
    forge(lines)
    before = await contents(sqlite_url)
    with pytest.raises(FileRefused, match=why):
        await import_journal(sqlite_url, io.BytesIO(closed(resealed(lines))))
    assert await contents(sqlite_url) == before
