"""
Effective dates on both databases: balances before a day, statements, closed days; against a model
that knows only a list of what happened and what the local calendar showed then.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tallywire.ledger import BalanceManager, TransactionType, batch, open_ledger
from tallywire.ledger.errors import Conflict, InvalidCursor, InvalidRequest, UnknownBook
from tallywire.ledger.money import LARGEST
from tallywire.ledger.rules import Decision, decide

from .conftest import ManualClock

ZONES = ("UTC", "Asia/Ho_Chi_Minh", "America/New_York", "Pacific/Kiritimati")
KINDS = {"deposit": 1, "withdrawal": -1, "charge": -1, "adjustment": 0, "reward": 0, "reversal": 0}
COUNTED = ("deposit", "withdrawal", "charge")
REWARD = TransactionType(name="reward", direction="either", counter="@house", earning=True)
NUMBERS = ("balance", "total_in", "total_out", "total_earned")
DAY = timedelta(days=1)

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Ask:
    """
    One change to be: booked `after` the one before, effective `ago` before that. A reversal is
    effective as it is booked, and its `amount` picks what it undoes.
    """

    after: timedelta
    ago: timedelta | None
    kind: str
    amount: int
    category: Any


@dataclass(frozen=True)
class Happened:
    """One entry: the day that the calendar showed, and what it added to each total."""

    on: date
    kind: str
    category: Any
    amount: int
    total_in: int
    total_out: int
    total_earned: int


@dataclass
class Model:
    """What happened in one account: no instants of days, only what the calendar showed."""

    zone: ZoneInfo
    happened: list[Happened] = field(default_factory=list)
    reversible: list[tuple[str, Happened]] = field(default_factory=list)

    def shown(self, moment: datetime) -> date:
        return moment.astimezone(self.zone).date()

    def before(self, day: date) -> tuple[int, int, int, int] | None:
        """Balance and totals by what was shown on an earlier day; None where nothing was."""
        earlier = [each for each in self.happened if each.on < day]
        if not earlier:
            return None
        return (
            sum(each.amount for each in earlier),
            sum(each.total_in for each in earlier),
            sum(each.total_out for each in earlier),
            sum(each.total_earned for each in earlier),
        )

    def movements(self, first: date, last: date) -> dict[tuple[str, Any], tuple[int, int]]:
        counts: Counter[tuple[str, Any]] = Counter()
        sums: dict[tuple[str, Any], int] = defaultdict(int)
        for each in self.happened:
            if first <= each.on <= last:
                counts[each.kind, each.category] += 1
                sums[each.kind, each.category] += each.amount
        return {key: (counts[key], sums[key]) for key in counts}


FIRST = Ask(timedelta(hours=30), timedelta(hours=29), "deposit", 7, None)

asks = st.lists(
    st.builds(
        Ask,
        after=st.timedeltas(timedelta(0), timedelta(hours=24)),
        ago=st.none() | st.timedeltas(timedelta(0), timedelta(hours=60)),
        kind=st.sampled_from(list(KINDS)),
        amount=st.integers(1, 9) | st.integers(1, LARGEST // 16),
        category=st.sampled_from([None, "rent", 'é, "q"', ""]),
    ),
    min_size=1,
    max_size=6,
)

periods = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=4)

on_each_database = settings(
    max_examples=15,
    deadline=None,
    # An example is short, and each step of shrinking it would be a journal of its own.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def manager(database_url: str, clock: ManualClock) -> AsyncIterator[BalanceManager]:
    async with open_ledger(database_url, clock=clock) as manager:
        manager.register_type(REWARD)
        yield manager


def to_the_next_change_of_clocks(clock: ManualClock, zone: ZoneInfo) -> None:
    """Move to a day and a half before the zone's next change of clocks, or only to the next day."""
    at = clock.at + 2 * DAY
    offset = at.astimezone(zone).utcoffset()
    for days in range(400):
        if (at + days * DAY).astimezone(zone).utcoffset() != offset:
            at += (days - 2) * DAY
            break
    clock.at = max(at, clock.at + DAY)


async def new_book(manager: BalanceManager, zone: str, **more: Any) -> str:
    name = f"book:{next(_numbers)}"
    given = {"timezone": zone, "default_floor": None, **more}
    await manager.administration.put_book(name, given, actor="root")
    return name


async def happen(
    manager: BalanceManager, clock: ManualClock, model: Model, user: str, book: str, ask: Ask
) -> None:
    clock.at += ask.after
    if ask.kind == "reversal":
        await undo(manager, model, model.shown(clock.at), ask.amount)
        return
    sign = KINDS[ask.kind] or (-1 if ask.amount % 2 else 1)
    effective = None if ask.ago is None else clock.at - ask.ago
    receipt = await manager.update_balance(
        user,
        str(sign * ask.amount),
        ask.kind,
        metadata=None if ask.category is None else {"category": ask.category, "n": ask.amount},
        asset="COIN",
        book=book,
        effective_at=effective,
    )
    counted = sign * ask.amount if ask.kind in COUNTED else 0
    entry = Happened(
        model.shown(effective or clock.at),
        ask.kind,
        ask.category,
        sign * ask.amount,
        max(counted, 0),
        max(-counted, 0),
        sign * ask.amount if ask.kind == "reward" else 0,
    )
    model.happened.append(entry)
    model.reversible.append((receipt.transaction_id, entry))


async def undo(manager: BalanceManager, model: Model, today: date, pick: int) -> None:
    """Reverse one of what can be reversed yet, where there is any."""
    if model.reversible:
        id_, entry = model.reversible.pop(pick % len(model.reversible))
        await manager.reverse(id_, "undone")
        undone = (-entry.amount, -entry.total_in, -entry.total_out, -entry.total_earned)
        model.happened.append(Happened(today, "reversal", None, *undone))


def around(model: Model) -> list[date]:
    days = [each.on for each in model.happened]
    span = (max(days) - min(days)).days
    return [min(days) + n * DAY for n in range(-1, span + 3)]


@on_each_database
@given(zone=st.sampled_from(ZONES), asked=asks, periods=periods)
async def test_what_counts_is_the_day_that_the_calendar_showed(
    manager: BalanceManager,
    clock: ManualClock,
    zone: str,
    asked: list[Ask],
    periods: list[tuple[int, int]],
) -> None:
    book, user, model = await new_book(manager, zone), f"u-{next(_numbers)}", Model(ZoneInfo(zone))
    to_the_next_change_of_clocks(clock, model.zone)
    await happen(manager, clock, model, user, book, FIRST)
    for ask in asked:
        await happen(manager, clock, model, user, book, ask)
    days = around(model)
    for day in days:
        snapshot = await manager.reader.balances_before(user, day, book=book)
        shown = [
            tuple(int(each.get(name, 0)) for name in NUMBERS)
            for each in map(msgspec.json.decode, snapshot.balances[user])
        ]
        expected = model.before(day)
        assert shown == ([] if expected is None else [expected])
    for one, other in periods:
        first, last = sorted((days[one % len(days)], days[other % len(days)]))
        statement = await manager.statement(user, from_=first, to=last, book=book)
        known = model.before(last + DAY)
        if known is None:
            assert statement.accounts == []
            continue
        (account,) = statement.accounts
        opening = model.before(first) or (0,)
        assert (int(account.opening), int(account.closing)) == (opening[0], known[0])
        listed = [(m.change_type, m.category, m.count, int(m.amount)) for m in account.movements]
        assert listed == sorted(listed, key=lambda m: (m[0], m[1] or ""))
        assert {m[:2]: m[2:] for m in listed} == model.movements(first, last)


@on_each_database
@given(zone=st.sampled_from(ZONES), asked=asks, later=asks)
async def test_a_closed_period_never_changes(
    manager: BalanceManager, clock: ManualClock, zone: str, asked: list[Ask], later: list[Ask]
) -> None:
    book, user, model = await new_book(manager, zone), f"u-{next(_numbers)}", Model(ZoneInfo(zone))
    to_the_next_change_of_clocks(clock, model.zone)
    await happen(manager, clock, model, user, book, FIRST)
    for ask in asked:
        await happen(manager, clock, model, user, book, ask)
    days = around(model)
    closed = model.shown(clock.at) - DAY
    await manager.administration.put_book(
        book, {"closed_through": closed.isoformat()}, actor="root"
    )

    async def seen() -> list[Any]:
        return [
            await manager.statement(user, from_=days[0], to=closed, book=book),
            await manager.statement(user, from_=days[0], to=min(days[0] + DAY, closed), book=book),
            await manager.statement(user, from_=closed, to=closed, book=book),
            (await manager.reader.balances_before(user, closed + DAY, book=book)).balances,
            (await manager.reader.balances_before(user, closed, book=book)).balances,
        ]

    before = await seen()
    for ask in later:
        ago = timedelta(0) if ask.ago is None or ask.kind == "reversal" else ask.ago
        effective = clock.at + ask.after - ago
        happened = len(model.happened)
        if model.shown(effective) <= closed:
            with pytest.raises(InvalidRequest, match="closed through"):
                await happen(manager, clock, model, user, book, ask)
            assert len(model.happened) == happened
        else:
            await happen(manager, clock, model, user, book, ask)
    assert await seen() == before


async def test_an_expense_of_the_first_is_not_before_that_day(manager: BalanceManager) -> None:
    """A building's expenses: the day itself is never "before" it."""
    book = await new_book(manager, "Europe/Athens", side="debit")
    at: dict[str, Any] = {"asset": "EUR", "book": book}
    await manager.update_balance(
        "flat-1", "120.50", "charge", **at, effective_at="2024-11-01T00:00:00+02:00"
    )
    for day, balance in (("2024-11-01", "0"), ("2024-11-02", "120.50")):
        assert await manager.balance_at("flat-1", before=day, **at) == Decimal(balance)
    # One microsecond earlier it is still October there.
    await manager.update_balance(
        "flat-1", "1", "charge", **at, effective_at="2024-10-31T23:59:59.999999+02:00"
    )
    assert await manager.balance_at("flat-1", before="2024-11-01", **at) == 1
    october = await manager.statement("flat-1", from_="2024-10-01", to="2024-10-31", book=book)
    assert msgspec.to_builtins(october) == {
        "book": book,
        "from": "2024-10-01",
        "to": "2024-10-31",
        "accounts": [
            {
                "account": f"{book}/flat-1/EUR",
                "opening": "0.00",
                "movements": [
                    {"change_type": "charge", "category": None, "count": 1, "amount": "1.00"}
                ],
                "closing": "1.00",
            }
        ],
    }


async def test_each_book_goes_by_its_own_zone(manager: BalanceManager, clock: ManualClock) -> None:
    """One instant is the first of March in one book and the last of February in the other."""
    clock.at = datetime(2100, 3, 1, 2, tzinfo=UTC)
    east = await new_book(manager, "Asia/Ho_Chi_Minh")
    west = await new_book(manager, "America/New_York")
    for book in (west, east):
        await manager.update_balance("alice", "5", "deposit", asset="COIN", book=book)
    snapshot = await manager.reader.balances_before("alice", date(2100, 3, 1))
    (only,) = map(msgspec.json.decode, snapshot.balances["alice"])
    assert (only["book"], only["balance"], only["total_in"]) == (west, "5", "5")
    assert snapshot.position == (await manager.reader.head()).position
    both = await manager.reader.balances_before("alice", date(2100, 3, 2))
    names = [msgspec.json.decode(each)["account"] for each in both.balances["alice"]]
    assert names == sorted(f"{book}/alice/COIN" for book in (east, west))


async def test_dated_balances_have_no_fields_of_booking(manager: BalanceManager) -> None:
    await manager.update_balance("alice", "7", "deposit")
    snapshot = await manager.reader.balances_before("alice", date(2200, 1, 1))
    (balance,) = map(msgspec.json.decode, snapshot.balances["alice"])
    assert {name for name, value in balance.items() if value is None} == {
        "held",
        "available",
        "floor",
        "suspend_below",
        "alert_below",
        "status",
        "seq",
        "digest",
    }


async def test_sums_are_exact_beyond_64_bits(manager: BalanceManager, clock: ManualClock) -> None:
    """Effective first twice the largest amount, and less only later: no account ever held that."""
    book = await new_book(manager, "UTC")
    at: dict[str, Any] = {"asset": "COIN", "book": book}
    start = clock.at
    for amount, ago in ((LARGEST, 9), (-LARGEST, 1), (LARGEST, 5)):
        effective = start - ago * DAY
        await manager.update_balance(
            "alice", str(amount), "adjustment", **at, effective_at=effective
        )
    before = (start - 3 * DAY).date()
    assert await manager.balance_at("alice", before=before, **at) == 2 * LARGEST
    statement = await manager.statement(
        "alice", from_=(start - 20 * DAY).date(), to=(start - 3 * DAY).date(), book=book
    )
    assert statement.accounts[0].closing == str(2 * LARGEST)


async def test_entries_that_move_no_money_are_no_movements(
    manager: BalanceManager, clock: ManualClock
) -> None:
    await manager.update_balance("alice", "7", "deposit")
    await manager.set_balance("alice", "7", "counted")
    clock.move(days=3)
    await manager.set_balance("alice", "7", "counted again")
    await manager.set_balance("bob", "0", "counted")
    today = clock.now().date()
    (account,) = (await manager.statement("alice", from_=today, to=today)).accounts
    assert (account.opening, account.movements, account.closing) == ("7.000000", [], "7.000000")
    assert (await manager.statement("bob", from_=today, to=today)).accounts == []


async def test_categories_are_the_text_of_what_metadata_has(manager: BalanceManager) -> None:
    for category in ("rent", 5, 5, True, None, {"a": [1]}, "5", "ключ"):
        await manager.update_balance("alice", "1", "deposit", metadata={"category": category})
    await manager.update_balance("alice", "1", "deposit", metadata={"other": 1})
    today = date(2100, 3, 1)
    (account,) = (await manager.statement("alice", from_=today, to=today)).accounts
    assert {m.category: m.count for m in account.movements} == {
        None: 2,
        "5": 3,
        "rent": 1,
        "true": 1,
        '{"a":[1]}': 1,
        "ключ": 1,
    }


async def test_a_read_of_then_is_not_of_the_future(
    manager: BalanceManager, clock: ManualClock, database_url: str
) -> None:
    await manager.update_balance("alice", "1", "deposit")
    stamp = clock.at
    clock.move(microseconds=1)
    await manager.update_balance("alice", "2", "deposit")
    at = manager.balance_at
    assert await at("alice", time=stamp) == 1
    assert await at("alice", time=stamp - timedelta(microseconds=1)) == 0
    assert await at("alice", time=clock.at) == 3
    assert await at("alice", position=1) == 1
    with pytest.raises(InvalidCursor, match="future"):
        await at("alice", time=clock.at + timedelta(microseconds=1))
    with pytest.raises(InvalidCursor, match="ends at position 2"):
        await at("alice", position=3)
    # A process whose clock is behind still answers for what another has stamped.
    late = ManualClock()
    late.move(hours=-1)
    async with open_ledger(database_url, clock=late) as other:
        assert await other.balance_at("alice", time=clock.at) == 3


async def test_what_cannot_be_asked(manager: BalanceManager) -> None:
    several: tuple[dict[str, Any], ...] = (
        {},
        {"before": "2024-01-01", "position": 0},
        {"before": "1.1.2024"},
    )
    for wrong in several:
        with pytest.raises(InvalidRequest):
            await manager.balance_at("alice", **wrong)
    with pytest.raises(InvalidRequest, match="without a time"):
        await manager.balance_at("alice", before=datetime(2024, 1, 1, tzinfo=UTC))
    with pytest.raises(InvalidRequest, match="ends"):
        await manager.statement("alice", from_="2024-01-02", to="2024-01-01")
    with pytest.raises(UnknownBook):
        await manager.statement("alice", from_="2024-01-02", to="2024-01-02", book="none")


async def test_a_day_that_is_not_over_can_be_closed(
    manager: BalanceManager, clock: ManualClock
) -> None:
    book = await new_book(manager, "UTC")
    today = clock.now().date().isoformat()
    await manager.update_balance("alice", "1", "deposit", book=book)
    await manager.administration.put_book(book, {"closed_through": today}, actor="root")
    with pytest.raises(InvalidRequest, match="closed through"):
        await manager.update_balance("alice", "1", "deposit", book=book)
    clock.move(days=1)
    await manager.update_balance("alice", "1", "deposit", book=book)
    assert await manager.balance_at("alice", before=clock.now().date(), book=book) == 1


async def test_a_period_ends_after_it_starts_and_closed_days_keep_their_zone(
    manager: BalanceManager,
) -> None:
    put = manager.administration.put_book
    with pytest.raises(InvalidRequest, match="starts on"):
        await put("x", {"starts_on": "2024-02-01", "closed_through": "2024-01-31"}, actor="root")
    await put("x", {"starts_on": "2024-02-01", "closed_through": "2024-02-01"}, actor="root")
    with pytest.raises(InvalidRequest, match="starts on"):
        await put("x", {"starts_on": "2024-02-02"}, actor="root")
    with pytest.raises(Conflict, match="time zone"):
        await put("x", {"timezone": "Asia/Tokyo"}, actor="root")
    await put("x", {"timezone": "UTC", "closed_through": "2024-03-31"}, actor="root")
    moved = await put("x", {"timezone": "Asia/Tokyo", "closed_through": None}, actor="root")
    assert (moved.timezone, moved.closed_through) == ("Asia/Tokyo", None)
    actions = [row["details"] for row in await manager.reader.audit(None, 10)]
    assert actions[1:] == [
        {"timezone": "UTC", "closed_through": "2024-03-31"},
        {"starts_on": "2024-02-01", "closed_through": "2024-02-01"},
    ]


async def test_nothing_is_effective_after_it_is_booked(
    manager: BalanceManager, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the clock is set back between the decision and the booking."""
    at = clock.at

    def decide_and_go_back(*args: Any) -> Decision:
        decision = decide(*args)
        clock.at = at - timedelta(seconds=5)
        return decision

    monkeypatch.setattr(batch, "decide", decide_and_go_back)
    receipt = await manager.update_balance("alice", "1", "deposit", effective_at=at)
    (update,) = receipt.updates
    assert update["timestamp"] == update["effective_at"]
