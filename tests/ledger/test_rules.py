"""
The rules against an independent model, and one by one.

OVERDRAFT_FLOOR, CONSERVATION, SEQUENCE_GAP, HASH_CHAIN, REJECTION_ATOMICITY: of a decision, which
is all that the committer writes.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace
from tallywire.ledger import Change, Details, LedgerError, TransactionType
from tallywire.ledger.accounts import Account, AccountKey
from tallywire.ledger.catalog import FIRST_ASSETS, Asset, Catalog
from tallywire.ledger.changes import change_account, directed, open_account
from tallywire.ledger.digest import GENESIS
from tallywire.ledger.intents import ChangeAccount, Intent, Leg, OpenAccount, Post, SetBalance
from tallywire.ledger.money import LARGEST
from tallywire.ledger.rules import Decision, State, decide
from tallywire.ledger.transaction_types import BUILT_IN

from .conftest import BOOKS, transaction_id
from .model import Model, Move, Refused

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
USERS = ("alice", "bob", "zürich/1")
TYPES = {kind.name: kind for kind in BUILT_IN}
HOLD = TransactionType(name="hold_placed", direction="none", counter=None, reversible=False)
SETTLED = TransactionType(
    name="settled", direction="either", counter="@escrow", passes_status=True, reversible=False
)
TYPES["reward"] = TransactionType(name="reward", direction="either", counter="@house", earning=True)
CATALOG = Catalog(
    version=1,
    paused=False,
    assets={code: Asset(code, scale) for code, scale in FIRST_ASSETS.items()},
    books={book.name: book for book in BOOKS},
)


_ANY = directed(
    CATALOG, TYPES["deposit"], "alice", "1", asset="USD", book="main", details=Details()
)


def asked(kind: TransactionType, intent: Intent, effective_at: str | None = None) -> Change:
    """A change of whatever intent, also of those that no type asks for yet."""
    return replace(_ANY, type=kind, intent=intent, effective_at=effective_at)


class Desk:
    """Decides changes one after the other on what the earlier ones left, in one book."""

    def __init__(self, book: str, catalog: Catalog = CATALOG) -> None:
        self.book = book
        self.sign = catalog.books[book].stored_sign
        self.catalog = catalog
        self.accounts: dict[AccountKey, Account] = {}
        self.system: dict[str, int] = {}
        self.inconsistent: set[AccountKey] = set()
        self._ids = 0

    def key(self, owner: str) -> AccountKey:
        return AccountKey(self.book, owner, "USD")

    def account(self, user: str) -> Account:
        return self.accounts[self.key(user)]

    def decide(self, change: Change) -> Decision:
        self._ids += 1
        for key in change.account_keys:
            if not key.is_system:
                empty = Account(len(self.accounts), key, floor=None)
                self.accounts.setdefault(key, empty)
        decision = decide(
            change,
            transaction_id(self._ids),
            State(self.accounts, self.inconsistent),
            self.catalog,
            NOW,
        )
        self._check(decision)
        for entry in decision.entries:
            self.accounts[entry.after.key] = entry.after
        for leg in decision.system_legs:
            self.system[leg.key.name] = self.system.get(leg.key.name, 0) + leg.amount
        return decision

    def move(self, kind: TransactionType, *moves: Move, counter: str = "@world") -> Decision:
        """Post `moves`, own sense, the rest against `counter`."""
        legs = [Leg(self.key(m.user), self.sign * m.amount, m.held_change) for m in moves]
        rest = -sum(leg.amount for leg in legs)
        if rest:
            legs.append(Leg(self.key(counter), rest))
        return self.decide(asked(kind, Post(tuple(legs))))

    def set(self, user: str, **changed: Any) -> Decision:
        return self.decide(asked(TYPES["account_changed"], ChangeAccount(self.key(user), changed)))

    def _check(self, decision: Decision) -> None:
        """What holds of every decision, whatever it decides."""
        moved = sum(entry.after.balance - entry.before.balance for entry in decision.entries)
        assert moved + sum(leg.amount for leg in decision.system_legs) == 0, "CONSERVATION"
        names = [entry.after.key.name for entry in decision.entries]
        assert names == sorted(set(names))
        for entry in decision.entries:
            before, after = entry.before, entry.after
            assert after.seq == before.seq + 1, "SEQUENCE_GAP"
            assert entry.amount == self.sign * (after.balance - before.balance)
            assert entry.held_change == after.held - before.held
            said = (
                f"{before.digest}|{after.key.name}|{after.seq}|{entry.amount}|{entry.held_change}"
                f"|{self.sign * after.balance}|{after.held}|{decision.transaction_id}"
            )
            assert after.digest == hashlib.sha256(said.encode()).hexdigest(), "HASH_CHAIN"


def code_of(attempt: Any) -> str | None:
    """The refusal's code, or None where it is accepted."""
    try:
        attempt()
    except LedgerError as refusal:
        return refusal.code
    except Refused as refusal:
        return str(refusal)
    return None


# Against the model

small = st.integers(-300, 300)
amounts = st.one_of(small, small, small, st.sampled_from([LARGEST, -LARGEST, LARGEST - 100]))
users = st.sampled_from(USERS)
thresholds = st.one_of(st.none(), st.integers(-150, 150))
counted = st.sampled_from(["deposit", "recharge", "withdrawal", "charge", "reward"])


class AgainstTheModel(RuleBasedStateMachine):
    """Any history: the same refusals in the same precedence, the same states, every invariant."""

    @initialize(book=st.sampled_from(["main", "credit-line", "unlimited", "strict", "flats"]))
    def open(self, book: str) -> None:
        in_book = CATALOG.books[book]
        self.desk = Desk(book)
        floor = in_book.floor_for(CATALOG.assets["USD"])
        self.model = Model(in_book.side, strict=in_book.accounts == "strict", floor=floor)

    def both(self, kind: TransactionType, *moves: Move) -> None:
        before = dict(self.desk.accounts)
        wanted = code_of(
            lambda: self.model.post(
                moves, counts=kind.counts, earns=kind.earning, recharge=kind.lifts_suspension
            )
        )
        decisions: list[Decision] = []
        got = code_of(lambda: decisions.append(self.desk.move(kind, *moves)))
        assert got == wanted
        if got is None:
            alerts = {e.after.key.owner for e in decisions[0].entries if e.low_balance}
            assert alerts == set(self.model.alerts)
        else:
            assert before.items() <= self.desk.accounts.items(), "REJECTION_ATOMICITY"

    @rule(user=users, amount=amounts, name=counted)
    def move(self, user: str, amount: int, name: str) -> None:
        if amount:
            self.both(TYPES[name], Move(user, amount))

    @rule(one=users, other=users, amount=st.one_of(st.integers(1, 300), st.just(LARGEST)))
    def transfer(self, one: str, other: str, amount: int) -> None:
        if one != other:
            self.both(TYPES["transfer"], Move(one, -amount), Move(other, amount))

    @rule(parts=st.lists(st.integers(0, 100), min_size=3, max_size=3))
    def share(self, parts: list[int]) -> None:
        moves = [Move(user, part) for user, part in zip(USERS, parts, strict=True)]
        self.both(TYPES["shared_charge"], *moves)

    @rule(user=users, change=st.integers(-200, 200))
    def hold(self, user: str, change: int) -> None:
        if not self.model.debit:
            self.both(HOLD, Move(user, 0, max(change, -self.model.purse(user).held)))

    @rule(user=users, wanted=small)
    def set_balance(self, user: str, wanted: int) -> None:
        change = wanted - self.model.purse(user).balance
        code = code_of(lambda: self.model.post([Move(user, change)], counts=False, recharge=False))
        intent = SetBalance(self.desk.key(user), self.desk.key("@house"), wanted, None)
        assert code_of(lambda: self.desk.decide(asked(TYPES["adjustment"], intent))) == code

    @rule(
        user=users,
        floor=thresholds,
        suspend_below=thresholds,
        alert_below=thresholds,
        named=st.sets(st.sampled_from(["floor", "suspend_below", "alert_below"]), min_size=1),
    )
    def set_thresholds(self, user: str, named: set[str], **values: int | None) -> None:
        allowed = named & {"alert_below"} if self.model.debit else named
        self.configure(user, {name: values[name] for name in allowed})

    @rule(user=users, status=st.sampled_from(["active", "active", "frozen", "closed"]))
    def set_status(self, user: str, status: str) -> None:
        self.configure(user, {"status": status})

    def configure(self, user: str, wanted: dict[str, Any]) -> None:
        if wanted:
            code = code_of(lambda: self.model.settle(user, wanted))
            assert code_of(lambda: self.desk.set(user, **wanted)) == code

    @invariant()
    def the_states_are_the_models(self) -> None:
        for user, purse in self.model.purses.items():
            account = self.desk.account(user)
            own = replace(account, balance=self.desk.sign * account.balance)
            for name, value in asdict(purse).items():
                assert getattr(own, name) == value, (user, name)

    @invariant()
    def nothing_is_made_or_lost(self) -> None:
        """CONSERVATION"""
        owned = sum(account.balance for account in self.desk.accounts.values())
        assert owned + sum(self.desk.system.values()) == 0


TestAgainstTheModel = AgainstTheModel.TestCase
TestAgainstTheModel.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)


# One by one


@given(st.integers(0, 500), st.integers(0, 500), st.integers(1, 1000), st.integers(-200, 200))
def test_overdraft_floor(balance: int, held: int, debit: int, floor: int) -> None:
    """OVERDRAFT_FLOOR: a debit that leaves `available` below the floor is refused, only that."""
    desk = Desk("unlimited")
    desk.move(TYPES["deposit"], Move("alice", balance, held))
    desk.set("alice", floor=floor)
    left = balance - held - debit
    for refused in (
        code_of(lambda: Desk.move(_copy(desk), TYPES["withdrawal"], Move("alice", -debit))),
        code_of(lambda: Desk.move(_copy(desk), HOLD, Move("alice", 0, debit))),
    ):
        assert refused == ("insufficient_funds" if left < floor else None)


def _copy(desk: Desk) -> Desk:
    copy = Desk(desk.book)
    copy.accounts = dict(desk.accounts)
    return copy


def test_a_refusal_for_funds_says_what_was_needed() -> None:
    """OVERDRAFT_FLOOR"""
    desk = Desk("main")
    desk.move(TYPES["deposit"], Move("alice", 500, 100))
    with pytest.raises(LedgerError) as refused:
        desk.move(TYPES["withdrawal"], Move("alice", -401))
    assert refused.value.code == "insufficient_funds"
    assert refused.value.extra == {"required": "4.01", "available": "4.00"}


def test_a_credit_below_the_floor_is_taken() -> None:
    """OVERDRAFT_FLOOR refuses debits: whoever is below it already may still be paid."""
    desk = Desk("unlimited")
    desk.move(TYPES["charge"], Move("alice", -500))
    desk.set("alice", floor=0)
    desk.move(TYPES["deposit"], Move("alice", 100))
    desk.move(HOLD, Move("alice", 0, 0))
    assert desk.account("alice").balance == -400
    assert code_of(lambda: desk.move(TYPES["withdrawal"], Move("alice", -1))) == (
        "insufficient_funds"
    )


def test_suspension_and_its_lifting() -> None:
    desk = Desk("main")
    desk.move(TYPES["deposit"], Move("alice", 1000))
    desk.set("alice", suspend_below=500, alert_below=700)
    at_the_line = desk.move(TYPES["charge"], Move("alice", -500)).entries[0]
    assert (at_the_line.after.status, at_the_line.low_balance) == ("active", True)
    crossing = desk.move(TYPES["charge"], Move("alice", -1)).entries[0]
    assert (crossing.after.status, crossing.low_balance) == ("suspended", False)
    for debit in (Move("alice", -1), Move("alice", 0, 1)):
        assert code_of(lambda m=debit: desk.move(TYPES["charge"], m)) == "account_suspended"
    # A deposit above the line does not lift it; a recharge that stays below does not either.
    assert desk.move(TYPES["deposit"], Move("alice", 300)).entries[0].after.status == "suspended"
    desk.set("alice", suspend_below=900)
    assert desk.move(TYPES["recharge"], Move("alice", 100)).entries[0].after.status == "suspended"
    assert desk.move(TYPES["recharge"], Move("alice", 1)).entries[0].after.status == "active"
    # Below the line already: no crossing, no suspension, nothing to alert to.
    desk.set("alice", suspend_below=5000, alert_below=5000)
    entry = desk.move(TYPES["charge"], Move("alice", -1)).entries[0]
    assert (entry.after.status, entry.low_balance) == ("active", False)


def test_a_hold_crosses_thresholds_too() -> None:
    desk = Desk("main")
    desk.move(TYPES["deposit"], Move("alice", 1000))
    desk.set("alice", suspend_below=500, alert_below=500)
    entry = desk.move(HOLD, Move("alice", 0, 501)).entries[0]
    assert (entry.after.status, entry.low_balance) == ("suspended", True)
    released = desk.move(HOLD, Move("alice", 0, -501)).entries[0]
    assert released.after.status == "suspended"


def test_settlement_passes_suspension_freeze_and_pause_but_not_the_grave() -> None:
    desk = Desk("main")
    desk.move(TYPES["deposit"], Move("alice", 100))
    desk.catalog = replace(CATALOG, paused=True)
    assert code_of(lambda: desk.move(TYPES["deposit"], Move("alice", 1))) == "paused"
    desk.move(SETTLED, Move("alice", 1), counter="@escrow")
    desk.catalog = CATALOG
    desk.set("alice", status="frozen")
    assert code_of(lambda: desk.move(TYPES["deposit"], Move("alice", 1))) == "account_frozen"
    desk.move(SETTLED, Move("alice", -102 + 1), counter="@escrow")
    desk.set("alice", status="closed")
    assert code_of(lambda: desk.move(SETTLED, Move("alice", 1))) == "account_closed"


def test_precedence_across_the_two_sides_of_a_transfer() -> None:
    """Not found, closed, frozen, suspended, amount, funds: whichever account has which."""
    statuses = ["closed", "frozen", "suspended", "poor", "fine"]
    codes = ["account_closed", "account_frozen", "account_suspended", "insufficient_funds", None]
    for i, payer in enumerate(statuses):
        for j, payee in enumerate(statuses):
            desk = Desk("main")
            for user, status in (("alice", payer), ("bob", payee)):
                if status == "fine":
                    desk.move(TYPES["deposit"], Move(user, 100))
                else:
                    desk.move(TYPES["deposit"], Move(user, 0))
                if status in ("closed", "frozen"):
                    desk.set(user, status=status)
                if status == "suspended":
                    desk.accounts[desk.key(user)] = replace(desk.account(user), status=status)
            got = code_of(
                lambda d=desk: d.move(TYPES["transfer"], Move("alice", -100), Move("bob", 100))
            )
            # Suspension and poverty hinder only who pays.
            payee_counts = j if payee in ("closed", "frozen") else len(codes) - 1
            assert got == codes[min(i, payee_counts)], (payer, payee)


def test_precedence_of_the_amount() -> None:
    """A frozen account is frozen however large the amount; a range is looked at before funds."""
    desk = Desk("unlimited")
    desk.move(TYPES["charge"], Move("alice", -LARGEST))
    desk.set("alice", floor=0)
    assert code_of(lambda: desk.move(TYPES["charge"], Move("alice", -1))) == "invalid_amount"
    top = SetBalance(desk.key("alice"), desk.key("@house"), LARGEST, None)
    assert code_of(lambda: desk.decide(asked(TYPES["adjustment"], top))) == "invalid_amount"
    desk.set("alice", status="frozen")
    assert code_of(lambda: desk.move(TYPES["charge"], Move("alice", -1))) == "account_frozen"
    assert code_of(lambda: desk.decide(asked(TYPES["adjustment"], top))) == "account_frozen"


@pytest.mark.parametrize("amount", ["0", "-1", "x", "1.001"])
def test_what_is_no_amount_is_refused_after_the_status_and_before_funds(amount: str) -> None:
    def withdraw(book: str = "main") -> Change:
        place = {"asset": "USD", "book": book, "details": Details()}
        return directed(CATALOG, TYPES["withdrawal"], "alice", amount, **place)  # type: ignore[arg-type]

    desk = Desk("main")
    desk.move(TYPES["deposit"], Move("alice", 0))
    assert code_of(lambda: desk.decide(withdraw())) == "invalid_amount"
    for status in ("suspended", "frozen", "closed"):
        desk.accounts[desk.key("alice")] = replace(desk.account("alice"), status=status)
        assert code_of(lambda: desk.decide(withdraw())) == f"account_{status}"
    strict = Desk("strict")
    assert code_of(lambda: strict.decide(withdraw("strict"))) == "unknown_user"


def test_what_is_no_threshold_is_refused_after_the_account() -> None:
    def settle(make: Any, kind: str) -> Change:
        place = {"asset": "USD", "book": "main", "details": Details()}
        change = make(CATALOG, TYPES[kind], "alice", **place, settings={"floor": "x"})
        assert isinstance(change, Change)
        return change

    desk = Desk("main")
    changed = settle(change_account, "account_changed")
    assert code_of(lambda: desk.decide(changed)) == "not_found"
    assert code_of(lambda: desk.decide(settle(open_account, "account_opened"))) == "invalid_amount"
    desk.move(TYPES["deposit"], Move("alice", 0))
    assert code_of(lambda: desk.decide(changed)) == "invalid_amount"
    desk.set("alice", status="closed")
    assert code_of(lambda: desk.decide(changed)) == "account_closed"


def test_a_refusal_is_not_shared_by_those_who_catch_it() -> None:
    change = replace(
        asked(TYPES["deposit"], Post(())), refusal=LedgerError("no", pointer="/amount")
    )
    caught = []
    for _ in range(2):
        with pytest.raises(LedgerError) as refused:
            Desk("main").decide(change)
        refused.value.extra["item"] = 1
        caught.append(refused.value)
    assert caught[0] is not caught[1]
    assert change.refusal is not None
    assert change.refusal.extra == {}


def test_totals_have_a_range_too() -> None:
    desk = Desk("main")
    desk.move(TYPES["deposit"], Move("alice", LARGEST))
    desk.move(TYPES["withdrawal"], Move("alice", -LARGEST))
    assert code_of(lambda: desk.move(TYPES["deposit"], Move("alice", 1))) == "invalid_amount"
    desk.move(TYPES["adjustment"], Move("alice", 1))
    desk.move(TYPES["reward"], Move("alice", LARGEST - 1))
    desk.move(TYPES["adjustment"], Move("alice", -LARGEST))
    assert code_of(lambda: desk.move(TYPES["reward"], Move("alice", 2))) == "invalid_amount"


def test_strict_books() -> None:
    desk = Desk("strict")
    assert code_of(lambda: desk.move(TYPES["deposit"], Move("alice", 1))) == "unknown_user"
    by_wish = SetBalance(desk.key("alice"), desk.key("@house"), 5, None)
    assert code_of(lambda: desk.decide(asked(TYPES["adjustment"], by_wish))) == "unknown_user"
    assert code_of(lambda: desk.set("alice", status="frozen")) == "not_found"
    opened = asked(TYPES["account_opened"], OpenAccount(desk.key("alice"), {"floor": -7}))
    entry = desk.decide(opened).entries[0]
    assert (entry.after.seq, entry.amount, entry.after.floor) == (1, 0, -7)
    assert entry.before.digest == GENESIS
    assert code_of(lambda: desk.decide(opened)) == "conflict"
    desk.move(TYPES["deposit"], Move("alice", 1))
    assert (
        code_of(lambda: desk.move(TYPES["transfer"], Move("alice", -1), Move("bob", 1)))
        == "unknown_user"
    )


def test_an_account_begins_with_its_books_floor() -> None:
    for book, floor in (
        ("main", 0),
        ("credit-line", -10_000),
        ("unlimited", None),
        ("flats", None),
    ):
        desk = Desk(book)
        desk.move(TYPES["adjustment"], Move("alice", 1))
        assert desk.account("alice").floor == floor
        opened = asked(TYPES["account_opened"], OpenAccount(desk.key("bob"), {}))
        assert desk.decide(opened).entries[0].after.floor == floor


def test_debit_books() -> None:
    """Positive is the user's debt; overpayment is allowed; nothing is suspended."""
    desk = Desk("flats")
    charged = desk.move(TYPES["charge"], Move("alice", 10_000), counter="@house").entries[0]
    assert (charged.amount, charged.after.balance, charged.after.total_in) == (
        10_000,
        -10_000,
        10_000,
    )
    paid = desk.move(TYPES["payment"], Move("alice", -15_000)).entries[0]
    assert (paid.after.balance, paid.after.total_out, paid.after.status) == (
        5_000,
        15_000,
        "active",
    )


def test_if_seq() -> None:
    desk = Desk("main")
    desk.move(TYPES["deposit"], Move("alice", 5))

    def wish(seq: int, balance: int = 5) -> SetBalance:
        return SetBalance(desk.key("alice"), desk.key("@house"), balance, seq)

    assert code_of(lambda: desk.decide(asked(TYPES["adjustment"], wish(0)))) == "conflict"
    # An entry even where nothing differs.
    entry = desk.decide(asked(TYPES["adjustment"], wish(1))).entries[0]
    assert (entry.amount, entry.after.seq) == (0, 2)
    assert code_of(lambda: desk.decide(asked(TYPES["adjustment"], wish(1, 9)))) == "conflict"
    fresh = SetBalance(desk.key("bob"), desk.key("@house"), 7, 0)
    assert desk.decide(asked(TYPES["adjustment"], fresh)).entries[0].after.balance == 7


def test_closing_and_opening_again() -> None:
    desk = Desk("main")
    desk.move(TYPES["deposit"], Move("alice", 5))
    assert code_of(lambda: desk.set("alice", status="closed")) == "conflict"
    desk.move(TYPES["withdrawal"], Move("alice", -5))
    desk.set("alice", status="closed")
    assert code_of(lambda: desk.set("alice", floor=5)) == "account_closed"
    assert code_of(lambda: desk.move(TYPES["deposit"], Move("alice", 5))) == "account_closed"
    desk.set("alice", status="active", alert_below=3)
    desk.move(TYPES["deposit"], Move("alice", 5))


def test_an_inconsistent_account_is_not_touched() -> None:
    """SNAPSHOT=REPLAY: a cache changed by hand is not laundered into the next entry."""
    desk = Desk("main")
    desk.move(TYPES["deposit"], Move("alice", 5))
    desk.inconsistent.add(desk.key("alice"))
    for attempt in (
        lambda: desk.move(TYPES["deposit"], Move("alice", 1)),
        lambda: desk.move(TYPES["transfer"], Move("bob", -1), Move("alice", 1)),
        lambda: desk.set("alice", status="frozen"),
    ):
        assert code_of(attempt) == "account_inconsistent"
    desk.move(TYPES["deposit"], Move("bob", 1))


@pytest.mark.parametrize(
    ("starts_on", "closed_through", "effective_at", "code"),
    [
        (None, None, "2026-03-01T12:00:00.000000Z", None),
        (None, None, "2026-03-01T12:00:00.000001Z", "invalid_request"),
        # The book's zone is two hours ahead of UTC: its 1 March began on 28 February, 22:00 UTC.
        (None, "2026-02-28", "2026-02-28T22:00:00.000000Z", None),
        (None, "2026-02-28", "2026-02-28T21:59:59.999999Z", "invalid_request"),
        ("2026-03-01", None, "2026-02-28T22:00:00.000000Z", None),
        ("2026-03-01", None, "2026-02-28T21:59:59.999999Z", "invalid_request"),
        (None, "2026-03-01", None, "invalid_request"),
        ("2026-03-02", None, None, "invalid_request"),
        ("2026-03-01", "2026-02-28", None, None),
        (None, None, "0001-01-02T00:00:00.000000Z", None),
    ],
)
def test_dates_of_the_book(
    starts_on: str | None, closed_through: str | None, effective_at: str | None, code: str | None
) -> None:
    book = replace(
        CATALOG.books["main"],
        timezone="Europe/Athens",
        starts_on=starts_on,
        closed_through=closed_through,
    )
    desk = Desk("main", replace(CATALOG, books={"main": book}))
    post = Post((Leg(desk.key("alice"), 1), Leg(desk.key("@world"), -1)))
    assert code_of(lambda: desk.decide(asked(TYPES["deposit"], post, effective_at))) == code


@pytest.mark.parametrize("period", [{"starts_on": "2026-06-01"}, {"closed_through": "2026-12-31"}])
def test_the_period_of_a_book_binds_only_what_moves(period: dict[str, str]) -> None:
    """An account is prepared before its book starts, and frozen after it is closed."""
    books = {"main": replace(CATALOG.books["main"], **period)}
    desk = Desk("main", replace(CATALOG, books=books))
    desk.decide(asked(TYPES["account_opened"], OpenAccount(desk.key("alice"), {})))
    assert desk.set("alice", status="frozen").entries[0].after.status == "frozen"
    desk.set("alice", status="active")
    assert code_of(lambda: desk.move(TYPES["deposit"], Move("alice", 1))) == "invalid_request"
