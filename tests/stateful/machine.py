"""Random sequences of everything that can be asked of a ledger, each step held to the model."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar

import hypothesis.strategies as st
import msgspec
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from tallywire.ledger import (
    BalanceManager,
    Change,
    Details,
    IdempotencyKey,
    LedgerError,
    Receipt,
    TransactionType,
    changes,
    open_ledger,
)
from tallywire.ledger.accounts import AccountKey
from tallywire.ledger.errors import MirrorRefused
from tallywire.ledger.invariants import Discrepancy, Invariant

from ..ledger.conftest import ManualClock
from ..ledger.oracle import examine
from ..ledger.raw import execute
from .model import (
    MIRRORS,
    Book,
    Effect,
    Hold,
    Malformed,
    Model,
    Move,
    Place,
    Refused,
    Terms,
)

T = TypeVar("T")
Found = tuple[str, str | None, str | None, str | None]

ASSET, SCALE = "USD", 2
BOOKS = {
    "main": Book(),
    "line": Book(strict=True, floor=-5),
    "flats": Book(debit=True),
}
CREDIT = ("main", "main", "main", "line")
USERS = ("alice", "bob")
PLACES = [(book, user) for book in BOOKS for user in USERS]

users = st.sampled_from(USERS)
places = st.sampled_from(PLACES)
books = st.sampled_from(sorted(BOOKS))
# Few and small, so that balances, thresholds and holds meet each other exactly.
amounts = st.one_of(st.integers(1, 12), st.sampled_from([1, 2, 5, 10, 20]), st.integers(-1, 0))
thresholds = st.one_of(st.none(), st.sampled_from([-5, 0, 2, 5, 10]))
said = st.integers(-5, 20)
seconds = st.sampled_from([5, 10])
# Few keys and two principals, so that keys meet again, in the same request and in another.
keys = st.one_of(
    st.none(), st.none(), st.tuples(st.sampled_from(["root", "ada"]), st.sampled_from("kl"))
)
days = st.one_of(st.just(0), st.just(0), st.integers(-4, 1))
singles = st.sampled_from(
    ["deposit", "deposit", "withdrawal", "charge", "recharge", "payment", "adjustment", "reward"]
)


# A table of the application that the ledger lives in, and what older code writes there.
WALLETS = (
    "CREATE TABLE wallets (id text PRIMARY KEY, coins integer, shadow numeric, credit numeric)"
)
EDITS = {
    "amount": "amount = amount + 1",
    "amount and remaining": "amount = amount + 1, remaining = remaining + 1, status = 'open'",
    "remaining": "remaining = CASE WHEN remaining > 1 THEN remaining - 1 ELSE remaining + 1 END,"
    " amount = CASE WHEN remaining > 1 THEN amount ELSE amount + 1 END, status = 'open'",
    "status": "remaining = 0, status = CASE status WHEN 'voided' THEN 'expired' ELSE 'voided' END",
}
"""What is done by hand to a hold's row, within its constraints, and always changes it."""


@dataclass(frozen=True)
class Item:
    """One change of a batch, or one asked for alone."""

    kind: str
    place: Place
    amount: int
    to: str
    key: tuple[str, str] | None
    day: int

    @property
    def terms(self) -> Terms:
        to = self.to if self.kind == "transfer" else None
        return Terms((self.kind, self.place, self.amount, to, self.day), self.key, self.day)

    @property
    def places(self) -> list[Place]:
        """The accounts that it may touch."""
        to = [(self.place[0], self.to)] if self.kind == "transfer" else []
        return [self.place, *to]


items = st.builds(
    Item,
    kind=st.one_of(singles, singles, st.just("transfer")),
    place=places,
    amount=amounts,
    to=users,
    key=keys,
    day=days,
)


class LedgerMachine(RuleBasedStateMachine):
    """One ledger on a fresh database, whose address `fresh_url` gives; end of the run: examined."""

    fresh_url: Callable[[], str]

    def __init__(self) -> None:
        super().__init__()
        self.url = type(self).fresh_url()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.clock = ManualClock()
        self.start = self.clock.now()
        self.model = Model(dict(BOOKS), today=0)
        self.manager: BalanceManager
        # The head and what was wrong when everything was verified last.
        self.verified: tuple[int, list[Found]] | None = None

    @initialize(
        settings=st.fixed_dictionaries({"suspend_below": thresholds, "alert_below": thresholds}),
        funds=st.sampled_from([5, 10, 20]),
    )
    def open(self, settings: dict[str, Any], funds: int) -> None:
        """Some of the accounts are there already, and have something to lose."""
        self.manager = self.run(self._open())
        alice, bob, line = ("main", "alice"), ("main", "bob"), ("line", "alice")
        for place, chosen in ((alice, settings), (line, {})):
            terms = Terms(("open", place))
            self.settle("open_account", "account_opened", place, chosen, terms, Model.open_account)
        paid = [Item("deposit", place, funds, "", None, 0) for place in (alice, bob, line)]
        for item in paid:
            self.ask(self.post(item), item.terms, partial(apply, item))
        self.place_hold("main", "alice", 3, 5, None)
        self.place_hold("main", "bob", 2, None, None)

    async def _open(self) -> BalanceManager:
        manager = await self.stack.enter_async_context(
            open_ledger(self.url, clock=self.clock, default_asset=ASSET)
        )
        manager.register_type(
            TransactionType(name="reward", direction="up", counter="@house", earning=True)
        )
        line = {"accounts": "strict", "default_floor": "-0.05"}
        await manager.administration.put_book("line", line, actor="root")
        await manager.administration.put_book("flats", {"side": "debit"}, actor="root")
        await execute(self.url, WALLETS)
        for user in USERS:
            await self._insert_wallet(user)
        for column, mirror in MIRRORS.items():
            await manager.register_mirror(
                column,
                table="wallets",
                column=column,
                key={"id": "{owner}"},
                asset=ASSET,
                book=mirror.book,
                value=mirror.value,
                on_drift="adopt" if mirror.adopts else "overwrite",
            )
        return manager

    async def _insert_wallet(self, user: str) -> None:
        await execute(self.url, f"INSERT INTO wallets VALUES ('{user}', 0, 0, 0)")
        self.model.cells.update({(column, user): 0 for column in MIRRORS})

    def teardown(self) -> None:
        try:
            self.run(self._close())
        finally:
            self.runner.close()

    async def _close(self) -> None:
        await self.stack.aclose()
        # What is left half done by a failure would hide the failure itself.
        if sys.exc_info()[0] is None:
            assert await examine(self.url) == len(self.model.effects)

    # Asking both, and comparing

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def ask(
        self, work: Awaitable[Receipt], terms: Terms, decide: Callable[[Model], Effect]
    ) -> str | None:
        """Ask the ledger and the model: one receipt, replay or refusal. The id where it is new."""
        return self.compare(self.run(_outcome(work)), self.expected(terms, decide), terms)

    def expected(
        self, terms: Terms, decide: Callable[[Model], Effect]
    ) -> tuple[Model, Effect | str | Refused]:
        """What the model says: itself afterwards with an effect, a refusal or what is replayed."""
        model = self.model.fork()
        answer: Effect | Refused
        try:
            answer = decide(model)
        except Malformed as refusal:
            return self.model, refusal
        except Refused as refusal:
            answer = refusal
        try:
            replayed = self.model.replayed(terms)
        except Refused as refusal:
            return self.model, refusal
        return (model, answer) if replayed is None else (self.model, replayed)

    def compare(
        self,
        outcome: Receipt | LedgerError,
        expected: tuple[Model, Effect | str | Refused],
        terms: Terms,
    ) -> str | None:
        model, effect = expected
        self.model = model
        self.name_unasked()
        if isinstance(effect, Refused):
            assert isinstance(outcome, LedgerError), f"accepted, not {effect.code}"
            assert outcome.code == effect.code, (outcome.code, effect.code)
            return None
        assert isinstance(outcome, Receipt), f"refused: {outcome!r}"
        if isinstance(effect, str):
            assert outcome.replayed, "made twice"
            assert outcome.transaction_id == effect, "another's answer"
            return None
        assert not outcome.replayed
        assert outcome.position == len(model.effects) + 1
        assert told(outcome.updates) == foretold(effect)
        model.commit(outcome.transaction_id, terms, effect)
        return outcome.transaction_id

    def name_unasked(self) -> None:
        """Find what the ledger did of itself: the newest of its type that its user was told."""
        made: list[tuple[int, dict[str, Any], Effect]] = []
        for kind, effect in self.model.unasked:
            book, user = effect.moves[0].place
            newest = self.run(self.manager.history(user, type=kind, book=book, limit=1))
            assert newest, f"no {kind}"
            made.append((newest[0]["position"], newest[0], effect))
        self.model.unasked = []
        for position, update, effect in sorted(made, key=lambda each: each[0]):
            assert position == len(self.model.effects) + 1, update["change_type"]
            assert told([update]) == foretold(effect)
            self.model.commit(update["transaction_id"], Terms(()), effect)

    def options(self, terms: Terms) -> dict[str, Any]:
        """As methods of the manager take them."""
        actor, key = terms.key or ("root", None)
        return {"actor": actor, "idempotency_key": key, "effective_at": self.moment(terms.day)}

    def details(self, terms: Terms) -> Details:
        """As prepared changes take them."""
        key = None if terms.key is None else IdempotencyKey("request", *terms.key)
        return Details(
            actor=(terms.key or ("root",))[0], key=key, effective_at=self.moment(terms.day)
        )

    def moment(self, day: int) -> datetime | None:
        """Some time of the day, as many after today; None for today."""
        today = self.start + timedelta(days=self.model.today)
        return None if day == 0 else today + timedelta(days=day)

    def prepared(self, item: Item) -> Change:
        manager, (book, user) = self.manager, item.place
        rest: dict[str, Any] = {"asset": ASSET, "book": book, "details": self.details(item.terms)}
        kind, amount = manager.types[item.kind], written(item.amount)
        if item.kind == "transfer":
            return changes.transfer(manager.catalog, kind, user, item.to, amount, **rest)
        if item.kind == "adjustment":
            return changes.signed(manager.catalog, kind, user, amount, **rest)
        return changes.directed(manager.catalog, kind, user, amount, **rest)

    async def post(self, item: Item) -> Receipt:
        return await self.manager.post(self.prepared(item))

    # Money

    @rule(item=items)
    def one_change(self, item: Item) -> None:
        self.ask(self.post(item), item.terms, partial(apply, item))

    @rule(
        place=places,
        balance=st.integers(-5, 20),
        behind=st.one_of(st.none(), st.just(0), st.just(1)),
        key=keys,
        day=days,
    )
    def set_balance(
        self, place: Place, balance: int, behind: int | None, key: Any, day: int
    ) -> None:
        if_seq = None if behind is None else self.model.account(place).seq - behind
        terms = Terms(("set", place, balance, if_seq, day), key, day)
        work = self.manager.set_balance(
            place[1],
            written(balance),
            "put right",
            if_seq=if_seq,
            book=place[0],
            **self.options(terms),
        )
        self.ask(work, terms, lambda model: model.set_balance(place, balance, if_seq, terms))

    @rule(
        book=st.sampled_from(["flats", "flats", "main"]),
        amount=amounts,
        weights=st.lists(st.integers(0, 5), min_size=1, max_size=2).filter(any),
        key=keys,
        day=days,
    )
    def shared_charge(self, book: str, amount: int, weights: list[int], key: Any, day: int) -> None:
        shares = list(zip(USERS, weights, strict=False))
        terms = Terms(("shared", book, amount, tuple(shares), day), key, day)

        async def work() -> Receipt:
            manager = self.manager
            return await manager.post(
                changes.shared_charge(
                    manager.catalog,
                    manager.types["shared_charge"],
                    written(amount),
                    shares,
                    asset=ASSET,
                    book=book,
                    details=self.details(terms),
                )
            )

        self.ask(work(), terms, lambda model: model.shared_charge(book, amount, shares, terms))

    @rule(batch=st.lists(items, min_size=2, max_size=5), atomic=st.booleans())
    def batch(self, batch: list[Item], atomic: bool) -> None:
        """Those that cannot be prepared at all are left out: a batch is of prepared changes."""
        made: list[tuple[Item, Change]] = []
        for item in batch:
            try:
                made.append((item, self.prepared(item)))
            except LedgerError as refusal:
                assert refusal.code == "invalid_request"
        # Replays meet no mirror: neither of what was there before the batch.
        new = [item for item, _ in made if item.key not in self.model.keys]
        met = {place for item in new for place in item.places}
        if atomic:
            self.atomic_batch(made, met)
            return
        outcomes = self.run(self.manager.post_many([change for _, change in made]))
        self.compare_each(made, outcomes, met)

    def atomic_batch(self, made: Sequence[tuple[Item, Change]], met: set[Place]) -> None:
        self.model.meet([place for item, _ in made for place in item.places if place in met])
        before, first = self.model, None
        for number, (item, _) in enumerate(made):
            self.model, effect = self.expected(item.terms, partial(apply, item))
            if isinstance(effect, Refused):
                first = Refused(effect.code, number)
                break
            if isinstance(effect, Effect):
                self.model.commit(f"item {number}", item.terms, effect)
        self.model = before
        work = self.manager.post_many([change for _, change in made], atomic=True)
        try:
            outcomes = self.run(work)
        except LedgerError as refusal:
            assert first is not None, f"refused: {refusal!r}"
            assert (refusal.code, refusal.extra["item"]) == (first.code, first.item)
            self.name_unasked()
            return
        assert first is None, f"accepted, not {first}"
        self.name_unasked()
        self.compare_each(made, outcomes, set())

    def compare_each(
        self,
        made: Sequence[tuple[Item, Change]],
        outcomes: Sequence[Receipt | LedgerError],
        met: set[Place],
    ) -> None:
        for (item, _), outcome in zip(made, outcomes, strict=True):
            self.model.meet([place for place in item.places if place in met])
            expected = self.expected(item.terms, partial(apply, item))
            self.compare(outcome, expected, item.terms)

    @rule(
        at=st.integers(0, 9),
        forced=st.booleans(),
        key=keys,
    )
    def reverse(self, at: int, forced: bool, key: Any) -> None:
        """One of the newest; an expiry's id is known to the worker alone."""
        known = [id_ for id_ in self.model.effects if not id_.startswith("expiry")]
        transaction = known[-1 - at % len(known)]
        terms = Terms(("reverse", transaction, forced), key)
        work = self.manager.reverse(transaction, "undone", force=forced, **self.options(terms))
        if not self.model.effects[transaction].reversible:
            assert self.refusal_of(work) == "not_reversible"
            return
        self.ask(work, terms, lambda model: model.reverse(transaction, forced, terms))

    # Holds

    @rule(
        book=st.sampled_from((*CREDIT, "flats")),
        user=users,
        amount=amounts,
        seconds=st.one_of(st.none(), seconds),
        key=keys,
    )
    def place_hold(self, book: str, user: str, amount: int, seconds: int | None, key: Any) -> None:
        terms = Terms(("hold", book, user, amount, seconds), key)
        work = self.manager.place_hold(
            user, written(amount), book=book, expires_in_s=seconds, **self.options(terms)
        )
        placed: list[Any] = []

        def decide(model: Model) -> Effect:
            effect, hold = model.place_hold((book, user), amount, seconds, terms)
            placed.append(hold)
            return effect

        id_ = self.ask(work, terms, decide)
        if id_ is not None:
            self.model.holds[id_] = placed[-1]

    def hold(self, at: int) -> str:
        """One of the newest holds."""
        ids = list(self.model.holds)
        return ids[-1 - at % len(ids)]

    @rule(
        at=st.integers(0, 3),
        amount=st.one_of(st.none(), st.integers(1, 12), st.integers(-1, 0)),
        release=st.booleans(),
        to=st.one_of(st.none(), users),
        key=keys,
    )
    def confirm_hold(
        self, at: int, amount: int | None, release: bool, to: str | None, key: Any
    ) -> None:
        hold = self.hold(at)
        terms = Terms(("confirm", hold, amount, release, to), key)
        work = self.manager.confirm_hold(
            hold,
            None if amount is None else written(amount),
            release_remainder=release,
            to_user=to,
            **self.options(terms),
        )
        if to == self.model.holds[hold].place[1]:
            assert self.refusal_of(work) == "invalid_request"
            return
        self.ask(work, terms, lambda model: model.confirm_hold(hold, amount, release, to, terms))

    @rule(at=st.integers(0, 3), key=keys)
    def void_hold(self, at: int, key: Any) -> None:
        hold = self.hold(at)
        terms = Terms(("void", hold), key)
        work = self.manager.void_hold(hold, **self.options(terms))
        self.ask(work, terms, lambda model: model.void_hold(hold, terms))

    @rule(seconds=seconds)
    def time_passes(self, seconds: int) -> None:
        self.clock.move(seconds=seconds)
        self.model.seconds += seconds

    @rule()
    def expire_holds(self) -> None:
        over = self.model.over()
        assert self.run(self.manager.expire_holds()) == len(over)
        for id_ in over:
            self.model.meet([self.model.holds[id_].place])
            self.name_unasked()
            self.model.commit(f"expiry of {id_}", Terms(()), self.model.expire_hold(id_))

    # Mirrors

    @rule(column=st.sampled_from(["coins", "coins", "shadow", "credit"]), user=users, said=said)
    def older_code_writes(self, column: str, user: str, said: int) -> None:
        if (column, user) in self.model.cells:
            value = said if column == "coins" else exactly(said)
            self.run(
                execute(self.url, f"UPDATE wallets SET {column} = {value} WHERE id = '{user}'")
            )
            self.model.cells[column, user] = said

    @rule(user=users)
    def wallet_goes_or_comes_back(self, user: str) -> None:
        if ("coins", user) not in self.model.cells:
            self.run(self._insert_wallet(user))
            return
        self.run(execute(self.url, f"DELETE FROM wallets WHERE id = '{user}'"))
        for column in MIRRORS:
            del self.model.cells[column, user]

    @rule()
    def sync_balances(self) -> None:
        report = self.run(self.manager.sync_balances())
        for place in list(self.model.accounts):
            self.model.sync(place)
        self.name_unasked()
        assert report.errors == len(self.model.wrong())

    # Accounts

    @rule(
        place=places,
        settings=st.fixed_dictionaries(
            {}, optional=dict.fromkeys(("floor", "suspend_below", "alert_below"), thresholds)
        ),
        status=st.sampled_from([None, None, "active", "active", "frozen", "closed"]),
        key=keys,
    )
    def set_account(
        self, place: Place, settings: dict[str, Any], status: str | None, key: Any
    ) -> None:
        """Made where it is not there, and changed where it is; now and then the other way."""
        if status is not None:
            settings = {**settings, "status": status}
        if (place in self.model.accounts and settings) or status is not None:
            terms = Terms(("change", place, tuple(settings.items())), key)
            self.settle(
                "change_account", "account_changed", place, settings, terms, Model.change_account
            )
        else:
            terms = Terms(("open", place, tuple(settings.items())), key)
            self.settle(
                "open_account", "account_opened", place, settings, terms, Model.open_account
            )

    def settle(
        self,
        function: str,
        kind: str,
        place: Place,
        settings: dict[str, Any],
        terms: Terms,
        decide: Callable[[Model, Place, dict[str, Any], Terms], Effect],
    ) -> None:
        async def work() -> Receipt:
            change: Change = getattr(changes, function)(
                self.manager.catalog,
                self.manager.types[kind],
                place[1],
                asset=ASSET,
                book=place[0],
                settings={
                    name: written(value) if isinstance(value, int) else value
                    for name, value in settings.items()
                },
                details=self.details(terms),
            )
            return await self.manager.post(change)

        self.ask(work(), terms, lambda model: decide(model, place, settings, terms))

    # Operators

    @rule(item=items, hold=st.one_of(st.none(), st.integers(0, 3)))
    def pause(self, item: Item, hold: int | None) -> None:
        """Changes are refused until it is over; what was made is told, and holds end."""
        self.run(self.manager.administration.pause("root"))
        self.model.paused = True
        self.ask(self.post(item), item.terms, partial(apply, item))
        if hold is not None:
            self.void_hold(hold, None)
        self.all_is_well()
        self.run(self.manager.administration.resume("root"))
        self.model.paused = False

    @rule(book=books, day=st.one_of(st.none(), st.integers(-5, -3)))
    def close_days(self, book: str, day: int | None) -> None:
        """`day`: the last that is closed, counted from the first day of all."""
        closed = None if day is None else (self.start + timedelta(days=day)).date().isoformat()
        self.run(
            self.manager.administration.put_book(book, {"closed_through": closed}, actor="root")
        )
        self.model.books[book] = replace(self.model.books[book], closed_through=day)

    @precondition(lambda self: self.model.accounts)
    @rule(
        data=st.data(),
        column=st.sampled_from(
            ["balance", "held", "total_in", "total_earned", "seq", "floor", "digest"]
        ),
    )
    def cache_is_changed_and_repaired(self, data: st.DataObject, column: str) -> None:
        """Found and named, refused to be built upon, and put right from the entries."""
        place = data.draw(st.sampled_from(sorted(self.model.accounts)))
        key = AccountKey(place[0], place[1], ASSET)
        self.run(execute(self.url, _corruption(column, key.name)))
        self.only_this_is_wrong(key)
        work = self.post(Item("charge", place, 1, "", None, 0))
        assert self.refusal_of(work) == "account_inconsistent"
        change = changes.repair_account(
            self.manager.catalog, self.manager.types["repair"], key, details=Details()
        )
        receipt = self.run(self.manager.post(change))
        effect = self.model.repair(place)
        assert told(receipt.updates) == foretold(effect)
        self.model.commit(receipt.transaction_id, Terms(()), effect)
        self.name_unasked()

    @precondition(lambda self: self.model.holds)
    @rule(at=st.integers(0, 3), edit=st.sampled_from([*EDITS, "deleted"]), alone=st.booleans())
    def hold_is_changed_and_repaired(self, at: int, edit: str, alone: bool) -> None:
        """Found and named, and put right from the journal with its account, or with everything."""
        id_ = self.hold(at)
        hold = self.model.holds[id_]
        book, user = hold.place
        statement = f"UPDATE holds SET {EDITS[edit]}" if edit in EDITS else "DELETE FROM holds"
        self.run(execute(self.url, f"{statement} WHERE id = '{id_}'"))
        self.only_this_is_wrong(AccountKey(book, user, ASSET))
        if alone and self.changes_what_is_held(hold, edit):
            work = _outcome(self.manager.check_and_fix_balance_mismatch(user, book=book))
            self.model.repair_unasked(hold.place)
            # A row that is missing is no mismatch; a closed account's keeps what others wrote.
            stuck = any(
                place == hold.place and said is not None for _, place, said, _ in self.model.wrong()
            )
            outcome = self.run(work)
            if stuck:
                assert isinstance(outcome, MirrorRefused), outcome
            else:
                assert outcome == (True, Decimal(self.model.accounts[hold.place].balance) / 100)
        else:
            report = self.run(self.manager.verify(fix=True))
            for place in list(self.model.accounts):
                if place == hold.place:
                    self.model.repair_unasked(place)
                elif any(place == where for _, where, *_ in self.model.wrong()):
                    self.model.sync(place)
            assert report.errors == len(self.model.wrong()), report.details
        self.name_unasked()

    def changes_what_is_held(self, hold: Hold, edit: str) -> bool:
        """What the quick look compares: the sum of what remains of the open holds."""
        left_over = edit in ("remaining", "amount and remaining")
        return edit != "amount" if hold.status == "open" else left_over

    def only_this_is_wrong(self, key: AccountKey) -> None:
        """Of the ledger's own; a wrong balance is so in the trial balance too, of no account."""
        details = self.run(self.manager.verify()).details
        own = [found for found in details if found.invariant != Invariant.MIRROR_LEDGER]
        assert {found.account for found in own} - {"-"} == {key.name}, details

    def refusal_of(self, work: Awaitable[Receipt]) -> str | None:
        outcome = self.run(_outcome(work))
        return outcome.code if isinstance(outcome, LedgerError) else None

    # What holds after each step

    @invariant()
    def all_is_well(self) -> None:
        if hasattr(self, "manager"):
            self.the_ledger_is_as_the_model()
            self.the_other_side_is_where_it_should_be()
            self.a_balance_of_another_day()
            self.mirrors_say_what_they_should()

    def the_ledger_is_as_the_model(self) -> None:
        snapshot = self.run(self.manager.reader.snapshot(USERS))
        assert snapshot.position == len(self.model.effects)
        stored = {
            (view["book"], user): view
            for user, views in snapshot.balances.items()
            for view in map(msgspec.json.decode, views)
        }
        assert stored.keys() == self.model.accounts.keys()
        for place, account in self.model.accounts.items():
            shown = stored[place]
            debit = self.model.books[place[0]].debit
            assert (shown["status"], shown["seq"]) == (account.status, account.seq), place
            for name in (
                "balance",
                "held",
                "total_in",
                "total_out",
                "total_earned",
                "suspend_below",
                "alert_below",
            ):
                value = getattr(account, name)
                assert shown.get(name) == (None if value is None else exactly(value)), (place, name)
            assert shown["available"] == (None if debit else exactly(account.available))
            assert shown["floor"] == (None if account.floor is None else exactly(account.floor))

    def mirrors_say_what_they_should(self) -> None:
        """All but what older code has changed; and nothing else is wrong with the ledger."""
        wrong: list[Found] = sorted(
            (
                f"mirror {column}",
                AccountKey(*place, ASSET).name,
                None if said is None else exactly(said),
                exactly(right),
            )
            for column, place, said, right in self.model.wrong()
        )
        assert self.run(_checked(self.manager)) == wrong
        # A refusal that changed something nevertheless is found once something else is changed.
        if self.verified != (state := (len(self.model.effects), wrong)):
            assert found_in(self.run(self.manager.verify()).details) == wrong
            self.verified = state

    def the_other_side_is_where_it_should_be(self) -> None:
        balance = self.run(self.manager.reader.trial_balance())
        stored = {
            (row["book"], row["owner_kind"]): row["balance"]
            for row in balance["rows"]
            if row["owner_kind"] != "user" and row["balance"] != "0.00"
        }
        assert stored == {place: exactly(n) for place, n in self.model.system.items() if n}

    def a_balance_of_another_day(self) -> None:
        """One account's at the start of one of the days, another each time."""
        number = len(self.model.effects)
        place, day = PLACES[number % len(PLACES)], 1 - number % 5
        date = (self.start + timedelta(days=day)).date()
        found = self.run(self.manager.balance_at(place[1], before=date, book=place[0]))
        assert found * 100 == sum(
            amount for on, where, amount in self.model.dated if where == place and on < day
        )


def apply(item: Item, model: Model) -> Effect:
    if item.kind == "transfer":
        return model.transfer(item.place, (item.place[0], item.to), item.amount, item.terms)
    return model.move(item.kind, item.place, item.amount, item.terms)


async def _outcome(work: Awaitable[T]) -> T | LedgerError:
    try:
        return await work
    except LedgerError as refusal:
        return refusal


async def _checked(manager: BalanceManager) -> list[Found]:
    return found_in([each async for page in manager.mirrors.check() for each in page])


def found_in(details: Sequence[Discrepancy]) -> list[Found]:
    """Without the reason of what could not be written."""
    return sorted(
        (found.what.split(":")[0], found.account, found.stored, found.actual) for found in details
    )


def told(updates: Sequence[dict[str, Any]]) -> list[tuple[Place, str, str, bool]]:
    return sorted(
        (
            (change["book"], update["user_id"]),
            change["amount"],
            change["held_change"],
            change.get("alert") == "low_balance",
        )
        for update in updates
        for change in update["changes"]
    )


def foretold(effect: Effect) -> list[tuple[Place, str, str, bool]]:
    def shown(move: Move) -> tuple[Place, str, str, bool]:
        alerted = move.place in effect.alerts
        return move.place, exactly(move.amount), exactly(move.held_change), alerted

    return sorted(map(shown, effect.moves))


def exactly(minor: int) -> str:
    """With all decimals, as the ledger writes amounts."""
    return f"{'-' if minor < 0 else ''}{abs(minor) // 100}.{abs(minor) % 100:02}"


def written(minor: int) -> str:
    """With as few decimals as it takes."""
    text = exactly(minor)
    return text.removesuffix(".00") if text.endswith(".00") else text


def _corruption(column: str, name: str) -> str:
    value = {"digest": "'" + "f" * 64 + "'"}
    value |= {each: f"COALESCE({each}, 0) + 1" for each in ("floor", "total_earned")}
    return (
        f"UPDATE accounts SET {column} = {value.get(column, f'{column} + 1')} WHERE name = '{name}'"
    )
