"""How a trade ends can be decided in the demo book alone: no path reaches another book."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy.exc import IntegrityError
from tallywire.ledger import (
    BalanceManager,
    Change,
    Details,
    LedgerError,
    Receipt,
    TransactionType,
    import_journal,
    open_ledger,
)
from tallywire.ledger.accounts import AccountKey
from tallywire.ledger.changes import make_change
from tallywire.ledger.digest import GENESIS, entry_digest
from tallywire.ledger.errors import AccountInconsistent, DemoOnly, InvalidRequest
from tallywire.ledger.importing import FileRefused
from tallywire.ledger.intents import ForceOption, Leg, Post, SetControl, SettleOption
from tallywire.ledger.trading.controls import set_control
from tallywire.ledger.trading.options import force_option, open_option
from tallywire.ledger.trading.trades import Option

from .conftest import ManualClock
from .journal_files import Lines, closed, contents, exported, parsed, resealed
from .oracle import examine
from .raw import execute, rows

PAIR = "BTC-USDT"
MAIN, DEMO = AccountKey("main", "alice", "USDT"), AccountKey("demo", "alice", "USDT")
START = Decimal(1000)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def manager(database_url: str, clock: ManualClock) -> AsyncIterator[BalanceManager]:
    """Alice's money in both books, a control of hers in demo, a price; all is well at the end."""
    async with open_ledger(database_url, clock=clock) as opened:
        for book in ("main", "demo"):
            await opened.update_balance("alice", str(START), "deposit", book=book)
        await opened.trading.set_control("alice", "win", actor="root")
        await opened.prices.push(PAIR, "60000.00", actor="feed")
        yield opened
        assert (await opened.verify()).details == []
    await examine(database_url)


async def option_in(manager: BalanceManager, book: str) -> Option:
    """An open option of alice's that the price must rise for."""
    receipt = await manager.trading.open_option("alice", PAIR, "up", "10", 30, book=book)
    return await manager.trading.read_option(receipt.transaction_id)


async def expire(manager: BalanceManager, clock: ManualClock, price: str) -> None:
    """Let every option expire at `price`."""
    clock.move(seconds=20)
    await manager.prices.push(PAIR, price, actor="feed")
    clock.move(seconds=20)
    await manager.trading.settle_due()


async def ended_by_the_price(manager: BalanceManager, clock: ManualClock, option: Option) -> None:
    """The option, which needs a higher price, loses by a lower one, and nothing was decided."""
    await expire(manager, clock, "59999.00")
    ended = await manager.trading.read_option(option.id)
    assert (ended.status, ended.outcome, ended.forced, ended.control) == (
        *("settled", "lose", False, None),
    )
    assert await manager.get_balance("alice") == START - 10


def by_hand(manager: BalanceManager, intent: Any, kind: str = "option_settled") -> Change:
    """A change that no function of the ledger would make."""
    return make_change(manager.types[kind], (), intent, Details(), None)


async def test_a_control_of_demo_leaves_options_elsewhere_alone(
    manager: BalanceManager, clock: ManualClock
) -> None:
    option, demo = await option_in(manager, "main"), await option_in(manager, "demo")
    assert (demo.control, demo.forced) == ("win", True)
    await ended_by_the_price(manager, clock, option)
    assert (await manager.trading.read_option(demo.id)).outcome == "win"


async def test_no_function_makes_such_a_change(manager: BalanceManager) -> None:
    option = await option_in(manager, "main")
    for book in ("main", "Demo", "demo ", "demo:2", ""):
        with pytest.raises(DemoOnly):
            await manager.trading.set_control("alice", "lose", book=book)
        with pytest.raises(DemoOnly):
            kind = manager.types["trading_control"]
            set_control(manager.catalog, kind, "alice", "lose", book=book, details=Details())
    for outcome in ("win", "lose", "tie"):
        with pytest.raises(DemoOnly):
            await manager.trading.force(option.id, outcome)
    assert await manager.trading.control("alice", "main") == "normal"


async def test_no_change_made_by_hand_is_accepted(
    manager: BalanceManager, clock: ManualClock
) -> None:
    option, demo = await option_in(manager, "main"), await option_in(manager, "demo")
    kind, catalog = manager.types["option_settled"], manager.catalog
    lent = force_option(catalog, kind, demo, "win", details=Details())
    control = set_control(
        catalog, manager.types["trading_control"], "alice", "win", details=Details()
    )
    for change in (
        by_hand(manager, SetControl("alice", "main", "win"), "trading_control"),
        by_hand(manager, SetControl("alice", "main", "win"), "deposit"),
        replace(control, intent=SetControl("alice", "main", "win")),
        by_hand(manager, ForceOption(MAIN, option.id, PAIR, "win")),
        by_hand(manager, ForceOption(DEMO, option.id, PAIR, "win")),
        by_hand(manager, ForceOption(MAIN, demo.id, PAIR, "win")),
        by_hand(manager, SettleOption(MAIN, demo.id, PAIR)),
        by_hand(manager, SettleOption(DEMO, option.id, PAIR)),
        replace(lent, intent=ForceOption(MAIN, option.id, PAIR, "win")),
        replace(lent, intent=ForceOption(DEMO, option.id, PAIR, "win")),
        force_option(catalog, kind, replace(option, key=DEMO), "win", details=Details()),
        force_option(catalog, kind, replace(demo, id=option.id), "win", details=Details()),
    ):
        with pytest.raises((DemoOnly, AccountInconsistent)):
            await manager.post(change)
    await ended_by_the_price(manager, clock, option)


async def test_no_batch_carries_one_along(manager: BalanceManager, clock: ManualClock) -> None:
    option = await option_in(manager, "main")
    fine = by_hand(manager, SetControl("alice", "demo", "lose"), "trading_control")
    foul = by_hand(manager, SetControl("alice", "main", "lose"), "trading_control")
    forced = by_hand(manager, ForceOption(DEMO, option.id, PAIR, "win"))
    with pytest.raises(LedgerError):
        await manager.post_many([fine, foul], atomic=True)
    assert await manager.trading.control("alice") == "win"
    outcomes = await manager.post_many([fine, foul, forced])
    assert [isinstance(outcome, Receipt) for outcome in outcomes] == [True, False, False]
    assert await manager.trading.control("alice", "main") == "normal"
    await ended_by_the_price(manager, clock, option)


async def test_a_batch_that_sets_a_control_opens_elsewhere_without_it(
    manager: BalanceManager, clock: ManualClock
) -> None:
    """In one commit: the control, an option in demo that has it, and one in main that has not."""
    kind, catalog = manager.types["option_opened"], manager.catalog
    opened = [
        open_option(catalog, kind, "alice", PAIR, "up", "10", 30, book=book, details=Details())
        for book in ("demo", "main")
    ]
    control = by_hand(manager, SetControl("alice", "demo", "lose"), "trading_control")
    _, *receipts = await manager.post_many([control, *opened], atomic=True)
    assert all(isinstance(receipt, Receipt) for receipt in receipts)
    (main,) = await manager.trading.trades(book="main")
    (demo,) = await manager.trading.trades(book="demo")
    trades = [await manager.trading.read_option(trade.id) for trade in (demo, main)]
    assert [trade.control for trade in trades] == ["lose", None]
    await ended_by_the_price(manager, clock, trades[1])


async def test_what_was_won_in_demo_stays_there(manager: BalanceManager) -> None:
    """No transfer has two books, nor has a change made by hand: each book's legs sum to zero."""
    option = await option_in(manager, "demo")
    await manager.trading.force(option.id, "win")
    legs = (Leg(DEMO, -5_000_000), Leg(MAIN, 5_000_000))
    with pytest.raises(InvalidRequest, match="sum to zero"):
        await manager.post(by_hand(manager, Post(legs), "transfer"))
    with pytest.raises(InvalidRequest, match="sum to zero"):
        await manager.post(by_hand(manager, Post(legs[1:]), "adjustment"))
    assert await manager.get_balance("alice") == START


async def test_no_type_of_an_application_is_a_way(
    manager: BalanceManager, clock: ManualClock
) -> None:
    option = await option_in(manager, "main")
    names = ("spot_buy", "spot_sell", "option_opened", "option_settled", "option_refunded")
    for name in (*names, "trading_control"):
        with pytest.raises(InvalidRequest):
            await manager.update_balance("alice", "5", name)
        with pytest.raises(InvalidRequest):
            kind = TransactionType(name=name, direction="either", counter="@house", role="user")
            manager.register_type(kind)
    own = TransactionType(name="prize", direction="up", counter="@escrow", passes_status=True)
    manager.register_type(own)
    for intent in (
        ForceOption(MAIN, option.id, PAIR, "win"),
        ForceOption(DEMO, option.id, PAIR, "win"),
        SetControl("alice", "main", "win"),
    ):
        with pytest.raises((DemoOnly, AccountInconsistent)):
            await manager.post(by_hand(manager, intent, "prize"))
    await ended_by_the_price(manager, clock, option)


async def test_the_database_refuses_such_rows(manager: BalanceManager, database_url: str) -> None:
    option, demo = await option_in(manager, "main"), await option_in(manager, "demo")
    for statement in (
        "INSERT INTO trading_controls (book, user_id, mode) VALUES ('main', 'alice', 'win')",
        "UPDATE trading_controls SET book = 'main'",
        f"UPDATE trades SET forced = 1 WHERE id = '{option.id}'",
        f"UPDATE trades SET book = 'main' WHERE id = '{demo.id}'",
    ):
        with pytest.raises(IntegrityError):
            await execute(database_url, statement)


async def test_altered_rows_decide_nothing(
    manager: BalanceManager, clock: ManualClock, database_url: str
) -> None:
    """An option ends as the journal tells it, or not at all until its row is put right."""
    option = await option_in(manager, "main")
    await manager.trading.set_control("alice", "normal")
    demo = await option_in(manager, "demo")
    told = 'told = replace(told, \'"forced"\\:false\', \'"forced"\\:true,"control"\\:"win"\')'
    await execute(database_url, f"UPDATE trades SET {told} WHERE id = '{option.id}'")
    moved = "book = 'main', told = replace(told, '\"demo\"', '\"main\"')"
    await execute(database_url, f"UPDATE trades SET {moved} WHERE id = '{demo.id}'")
    await expire(manager, clock, "60001.00")
    assert await manager.get_balance("alice") == START - 10 + 10 + 8
    assert await manager.get_balance("alice", book="demo") == START - 10
    assert (await manager.verify(fix=True)).errors == 0
    ended = await manager.trading.read_option(option.id)
    assert (ended.outcome, ended.forced, ended.control) == ("win", False, None)
    await manager.trading.settle_due()
    assert await manager.get_balance("alice") == START + 8
    assert await manager.get_balance("alice", book="demo") == START + 8


async def test_an_altered_control_is_for_play_money_still(
    manager: BalanceManager, clock: ManualClock, database_url: str
) -> None:
    option = await option_in(manager, "main")
    await execute(database_url, "UPDATE trading_controls SET mode = 'lose', position = 1")
    assert (await option_in(manager, "demo")).control == "lose"
    assert (await option_in(manager, "main")).control is None
    await expire(manager, clock, "60001.00")
    assert (await manager.trading.read_option(option.id)).outcome == "win"
    assert (await manager.verify(fix=True)).errors == 0


# A file whose hashes, digests and seals all fit, as whoever has this code can make one


async def write_demo(manager: BalanceManager, kind: str) -> None:
    """In demo: an option that is forced at its end, or from its opening on, or just a control."""
    trading = manager.trading
    await manager.update_balance("alice", "100", "deposit", book="demo")
    await manager.prices.push(PAIR, "60000.00", actor="feed")
    if kind == "an end":
        option = await trading.open_option("alice", PAIR, "up", "10", 30, book="demo")
        await trading.force(option.transaction_id, "win", actor="root")
        return
    await trading.set_control("alice", "lose", actor="root")
    if kind == "an option":
        await trading.open_option("alice", PAIR, "up", "10", 30, book="demo")


def into_main(lines: Lines, *, control: bool) -> Lines:
    """The journal of demo as one of main, with digests, hashes and seals that fit; the control?"""
    moved = [
        line
        if line["line"] == "header" or (line.get("type") == "trading_control" and not control)
        else json.loads(json.dumps(line).replace("demo", "main"))
        for line in lines
    ]
    newest: dict[str, str] = {}
    for line in moved:
        for leg in line["postings"] if line["line"] == "transaction" else ():
            if "digest" not in leg:
                continue
            before, name = leg["digest"], leg["account"]
            leg["digest"] = newest[name] = entry_digest(
                *(newest.get(name, GENESIS), name, leg["seq"], leg["amount"]),
                *(leg["held_change"], leg["balance"], leg["held"], line["id"]),
            )
            line["encoded"] = line["encoded"].replace(before, leg["digest"])
    return resealed(moved)


@pytest.mark.parametrize(
    ("kind", "control", "why"),
    [
        ("a control", True, "control of alice outside of the demo book is main"),
        ("an option", False, "trade: control outside of the demo book of main/alice/USDT is lose"),
        ("an end", True, "trade: forced outside of the demo book of main/alice/USDT is True"),
    ],
)
async def test_no_file_carries_one(
    database_url: str, empty_sqlite_url: str, kind: str, control: bool, why: str
) -> None:
    async with open_ledger(database_url, clock=ManualClock()) as manager:
        await write_demo(manager, kind)
    lines = parsed(await exported(database_url))
    assert closed(resealed(parsed(closed(lines)))) == closed(lines)
    async with open_ledger(empty_sqlite_url):
        pass
    before = await contents(empty_sqlite_url)
    with pytest.raises(FileRefused, match=why):
        file = io.BytesIO(closed(into_main(lines, control=control)))
        await import_journal(empty_sqlite_url, file)
    assert await contents(empty_sqlite_url) == before


async def test_a_file_moved_whole_is_otherwise_in_order(
    sqlite_url: str, empty_sqlite_url: str
) -> None:
    """What refuses the files above is the book, not how they were made."""
    async with open_ledger(sqlite_url, clock=ManualClock()) as manager:
        await manager.update_balance("alice", "100", "deposit", book="demo")
        await manager.prices.push(PAIR, "60000.00", actor="feed")
        await manager.trading.open_option("alice", PAIR, "up", "10", 30, book="demo")
    file = closed(into_main(parsed(await exported(sqlite_url)), control=True))
    await import_journal(empty_sqlite_url, io.BytesIO(file))
    (found,) = await rows(empty_sqlite_url, "SELECT book FROM trades")
    assert found["book"] == "main"
