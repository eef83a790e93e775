"""Opening balances: every row once or refused in words, and totals that prove it."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tallywire.cutover import ControlTotals, ImportedBook
from tallywire.ledger import BalanceManager, Details, changes, open_ledger
from tallywire.ledger.errors import Paused, UnknownAsset, UnknownBook
from tallywire.ledger.money import format_amount

from ..ledger.oracle import examine
from .legacy import MAIN_USD, Rows, imported, make_users, users_table

USD: dict[str, Any] = {"asset": "USD", "book": "main"}


async def test_a_table_is_booked_once(ledger: BalanceManager, database_url: str) -> None:
    users = [("alice", "10.25"), ("bob@example.com", "0"), ("ζωή 100% 'x'", "7.5"), ("42", "3")]
    await make_users(database_url, [(user, Decimal(b)) for user, b in users])
    for booked in (4, 0):
        totals, refused = await imported(ledger, users_table(database_url))
        assert refused == []
        assert (totals.booked.rows, totals.replayed.rows) == (booked, 4 - booked)
        assert (totals.ledger.rows, totals.ledger.sum, totals.elsewhere) == (4, 2075, 0)
    for user, balance in users:
        assert await ledger.get_balance(user, **USD) == Decimal(balance)
        (update,) = await ledger.history(user)
        assert update["change_type"] == "opening_balance"
        assert update["changes"][0]["total_in"] == "0.00"
    assert (await ledger.verify()).errors == 0


async def test_a_dry_run_answers_the_same_and_writes_nothing(ledger: BalanceManager) -> None:
    rows = Rows([("alice", 5), ("bob", "x"), ("carol", -1), (None, 3), ("dave", 2), ("dave", 2)])
    would, foreseen = await imported(ledger, rows, dry_run=True)
    assert (await ledger.reader.head()).position == 0
    did, refused = await imported(ledger, rows)
    assert (foreseen, would.booked, would.refused) == (refused, did.booked, did.refused)
    assert [row.row for row in refused] == [2, 3, 4, 5, 6]
    assert (did.booked.rows, did.booked.sum, did.unreadable) == (1, 500, 1)
    again, _ = await imported(ledger, rows, dry_run=True)
    assert (again.booked.rows, again.replayed.rows, again.ledger.sum) == (0, 1, 500)


async def test_a_balance_that_changed_is_told(ledger: BalanceManager) -> None:
    await imported(ledger, Rows([("alice", 5), ("bob", 5)]))
    totals, (changed,) = await imported(ledger, Rows([("alice", 5), ("bob", 6)]))
    assert (changed.user, changed.reason) == ("bob", "already opened with 5.00, now 6.00")
    assert (totals.replayed.sum, totals.refused.sum, totals.ledger.sum) == (500, 600, 500)
    assert totals.elsewhere == 500


async def test_an_account_with_entries_is_left_alone(ledger: BalanceManager) -> None:
    await ledger.update_balance("alice", "5", "deposit", **USD)
    await ledger.update_balance("alice", "-5", "withdrawal", **USD)
    await imported(ledger, Rows([("bob", 1)]))
    await ledger.update_balance("bob", "5", "deposit", **USD)
    totals, (refused,) = await imported(ledger, Rows([("alice", 5), ("bob", 1)]))
    assert (refused.user, refused.reason) == ("alice", "the account has entries already")
    assert totals.replayed.rows == 1
    assert await ledger.get_balance("alice", **USD) == 0


async def test_a_strict_book_takes_those_it_knows(ledger: BalanceManager) -> None:
    await ledger.administration.put_book("club", {"accounts": "strict"}, actor="root")
    place = {"asset": "USD", "book": "club"}
    opened = changes.open_account(
        ledger.catalog,
        ledger.types["account_opened"],
        "alice",
        **place,
        settings={"floor": "-10"},
        details=Details(),
    )
    await ledger.post(opened)
    rows, club = Rows([("alice", -7), ("bob", 5)]), ImportedBook("club", "USD")
    for _ in range(2):
        totals, (refused,) = await imported(ledger, rows, club)
        assert (refused.user, refused.reason) == ("bob", "book 'club' has no account for 'bob'")
        assert totals.ledger.sum == -700
    assert await ledger.get_balance("alice", **place) == -7


async def test_debts_are_positive_in_a_debit_book(ledger: BalanceManager) -> None:
    await ledger.administration.put_book("rent", {"side": "debit"}, actor="root")
    totals, _ = await imported(
        ledger, Rows([("flat 1", "120.50"), ("flat 2", -3)]), ImportedBook("rent", "EUR")
    )
    assert (totals.booked.sum, totals.opening_account) == (11750, 11750)
    assert await ledger.get_balance("flat 1", asset="EUR", book="rent") == Decimal("120.50")
    sums = (await ledger.reader.trial_balance())["sums"]
    assert sums["rent/EUR"] == "0.00"


async def test_an_account_opens_in_debt_only_where_that_is_meant(ledger: BalanceManager) -> None:
    rows = Rows([("alice", -5)])
    _, (refused,) = await imported(ledger, rows)
    assert refused.reason == "below the account's floor of 0.00"
    totals, _ = await imported(ledger, rows, MAIN_USD._replace(allow_negative=True))
    assert totals.booked.sum == -500
    # The debt stands, so a later import that does not allow one finds it booked.
    assert (await imported(ledger, rows))[0].replayed.rows == 1
    assert (await ledger.verify()).errors == 0


async def test_minor_units(ledger: BalanceManager) -> None:
    place = MAIN_USD._replace(in_minor_units=True)
    totals, (refused,) = await imported(ledger, Rows([("alice", 1234), ("bob", "12.5")]), place)
    assert await ledger.get_balance("alice", **USD) == Decimal("12.34")
    assert "decimals" in refused.reason
    assert totals.read.sum == 1234


async def test_ids_too_long_for_a_key_are_kept_apart(ledger: BalanceManager) -> None:
    users = ["ж" * 127 + last for last in "жз"]
    rows = Rows([(user, 1) for user in users])
    for booked in (2, 0):
        assert (await imported(ledger, rows))[0].booked.rows == booked


async def test_two_imports_at_once_book_every_row_once(
    ledger: BalanceManager, database_url: str
) -> None:
    rows = Rows([(f"user {i}", i) for i in range(1500)])
    async with open_ledger(database_url) as other:
        (one, _), (two, _) = await asyncio.gather(imported(ledger, rows), imported(other, rows))
    assert one.booked.rows + two.booked.rows == 1500
    assert one.ledger == two.ledger == one.read
    assert one.elsewhere == two.elsewhere == 0


async def test_a_deposit_meanwhile_is_not_swallowed(ledger: BalanceManager) -> None:
    users = [f"user {i}" for i in range(60)]
    deposits = [ledger.update_balance(user, "1", "deposit", **USD) for user in users]
    _, *receipts = await asyncio.gather(
        imported(ledger, Rows([(user, 5) for user in users])), *deposits
    )
    assert len(receipts) == 60
    for user in users:
        kinds = [update["change_type"] for update in await ledger.history(user)]
        expected = 6 if "opening_balance" in kinds else 1
        assert await ledger.get_balance(user, **USD) == expected


async def test_a_pause_stops_the_import(ledger: BalanceManager) -> None:
    await ledger.administration.pause(actor="root")
    with pytest.raises(Paused):
        await imported(ledger, Rows([("alice", 5)]))
    await ledger.administration.resume(actor="root")
    assert (await imported(ledger, Rows([("alice", 5)])))[0].booked.rows == 1


async def test_what_does_not_exist(ledger: BalanceManager) -> None:
    with pytest.raises(UnknownBook):
        await imported(ledger, Rows([]), ImportedBook("nowhere", "USD"))
    with pytest.raises(UnknownAsset):
        await imported(ledger, Rows([]), ImportedBook("main", "NONE"))


async def test_an_import_is_in_the_audit(ledger: BalanceManager) -> None:
    await imported(ledger, Rows([("alice", 5)]), dry_run=True)
    await imported(ledger, Rows([("alice", 5)]))
    (record,) = await ledger.reader.audit(None, 10)
    assert (record["actor"], record["action"]) == ("operator", "balances_imported")
    assert (record["target"], record["details"]["source"]) == ("main/USD", "rows")
    assert record["details"]["booked"] == {"rows": 1, "sum": "5.00"}


@pytest.mark.parametrize("part", ["read", "booked", "replayed", "refused", "ledger"])
def test_totals_that_differ_in_one_row_or_one_unit_do_not_agree(part: str) -> None:
    for rows, minor in [(0, 1), (1, 0)]:
        totals = ControlTotals(dry_run=False, scale=2)
        for line in (totals.read, totals.booked, totals.ledger):
            line.add(500)
        assert totals.agree
        line = getattr(totals, part)
        line.rows, line.sum = line.rows + rows, line.sum + minor
        assert not totals.agree


_ID = st.one_of(
    st.integers(-3, 30),
    st.text(st.sampled_from("ab%_'\"@. é"), max_size=3),
    st.none(),
)
_BALANCE = st.one_of(
    st.integers(-500, 500),
    st.decimals(-50, 50, places=2),
    st.decimals(0, 1, places=3),
    st.sampled_from([None, "", "7.5", "1,5", 0.25, 0.1 + 0.2, 2**63]),
)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(st.tuples(_ID, _BALANCE), max_size=40), negative=st.booleans())
async def test_sums_are_kept_for_any_rows(
    database_url: str, rows: list[tuple[object, object]], negative: bool
) -> None:
    async with open_ledger(database_url) as manager:
        # A book of its own for each example, in one database.
        book = f"b{(await manager.reader.head()).position}-{len(manager.catalog.books)}"
        await manager.administration.put_book(book, {}, actor="root")
        place = ImportedBook(book, "USD", allow_negative=negative)
        source = Rows(rows, size=7)
        foreseen, _ = await imported(manager, source, place, dry_run=True)
        totals, refused = await imported(manager, source, place)
        again, _ = await imported(manager, source, place)
        held = (await manager.reader.trial_balance())["rows"]
    assert totals.read.rows == len(rows)
    assert foreseen.booked == totals.booked == again.replayed
    assert totals.refused == again.refused
    assert totals.unreadable <= len(refused)
    users = [r["balance"] for r in held if (r["book"], r["owner_kind"]) == (book, "user")]
    assert users == ([format_amount(totals.booked.sum, 2)] if totals.booked.rows else [])
    assert totals.elsewhere == 0
    await examine(database_url)
