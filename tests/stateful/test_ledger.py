"""The ledger against the model: see machine.py for what is asked, model.py for what is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from .conftest import EXAMPLES
from .machine import EDITS, Item, LedgerMachine

FEW = 3
STEPS = 50


@pytest.mark.parametrize(
    "fresh_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)], indirect=True
)
@pytest.mark.timeout(300)
def test_any_sequence_of_operations(fresh_url: Callable[[], str]) -> None:
    machine = type("Machine", (LedgerMachine,), {"fresh_url": staticmethod(fresh_url)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES or FEW,
            phases=(Phase.generate, Phase.shrink) if EXAMPLES else (Phase.generate,),
            stateful_step_count=STEPS,
            derandomize=not EXAMPLES,
            deadline=None,
            database=None,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture
def machine(fresh_url: Callable[[], str]) -> Iterator[LedgerMachine]:
    """The same machine, to be led by hand: each step is held to the model too."""
    machine = type("Machine", (LedgerMachine,), {"fresh_url": staticmethod(fresh_url)})()
    yield machine
    machine.teardown()


ALICE, BOB, LINE = ("main", "alice"), ("main", "bob"), ("line", "alice")


def change(machine: LedgerMachine, kind: str, place: tuple[str, str], amount: int) -> None:
    machine.one_change(item=Item(kind, place, amount, "", None, 0))
    machine.all_is_well()


def test_the_corners_that_chance_seldom_finds(machine: LedgerMachine) -> None:
    machine.open(settings={"suspend_below": 5, "alert_below": 10}, funds=10)
    machine.all_is_well()
    # The hold took alice from 10 to 7, above her threshold; then below it, and half way back.
    change(machine, "withdrawal", ALICE, 4)
    machine.place_hold(book="main", user="alice", amount=1, seconds=None, key=None)
    change(machine, "recharge", ALICE, 1)
    change(machine, "withdrawal", ALICE, 1)
    change(machine, "recharge", ALICE, 9)
    # Part of a hold, and the rest of it released.
    machine.confirm_hold(at=0, amount=1, release=True, to="alice", key=None)
    machine.all_is_well()
    machine.time_passes(seconds=5)
    machine.confirm_hold(at=1, amount=None, release=False, to=None, key=None)
    machine.expire_holds()
    machine.all_is_well()
    # Two shares of one unit, and one of a remainder.
    for weights in ([1, 1], [1, 2]):
        machine.shared_charge(book="flats", amount=1, weights=weights, key=None, day=0)
        machine.all_is_well()
    # A floor that is raised above the balance refuses debits alone.
    machine.set_account(place=LINE, settings={"floor": 20}, status=None, key=None)
    change(machine, "deposit", LINE, 1)
    change(machine, "withdrawal", LINE, 1)
    change(machine, "deposit", BOB, 5)
    change(machine, "withdrawal", BOB, 14)
    for forced in (False, True, True):
        machine.reverse(at=1 if not forced else 0, forced=forced, key=None)
        machine.all_is_well()


def test_older_code_that_writes_to_mirrors(machine: LedgerMachine) -> None:
    """What it wrote is booked before the change that meets it, whatever becomes of that."""
    machine.open(settings={"suspend_below": 2}, funds=10)
    machine.all_is_well()

    booked = machine.model.system["main", "@house"]

    def written(column: str, user: str, said: int) -> None:
        machine.older_code_writes(column=column, user=user, said=said)
        machine.all_is_well()

    def adopted() -> int:
        """How much is booked since the last time."""
        nonlocal booked
        before, booked = booked, machine.model.system["main", "@house"]
        return before - booked

    # Refused for its funds, and for the account's status; below its floor, into suspension.
    written("coins", "alice", 4)
    change(machine, "withdrawal", ALICE, 20)
    assert adopted() == -6
    written("coins", "alice", -3)
    machine.set_account(place=ALICE, settings={}, status="frozen", key=None)
    assert adopted() == -7
    written("coins", "alice", 12)
    change(machine, "deposit", ALICE, 1)
    assert adopted() == 15
    machine.set_account(place=ALICE, settings={}, status="active", key=None)
    # In a month to come, and without an amount.
    for amount, day in ((1, 1), (0, 0)):
        written("coins", "alice", 15 + day)
        machine.one_change(item=Item("deposit", ALICE, amount, "", None, day))
        machine.all_is_well()
    assert adopted() == 3
    # Neither a replay nor a key that stands for something else meets a mirror.
    keyed = Item("deposit", BOB, 2, "", ("root", "k"), 0)
    machine.one_change(item=keyed)
    written("coins", "bob", 5)
    for item in (keyed, Item("deposit", BOB, 3, "", ("root", "k"), 0)):
        machine.one_change(item=item)
        machine.all_is_well()
    assert adopted() == 0
    # While paused nothing is booked but what meets the end of a hold, here of bob's.
    written("coins", "alice", 20)
    machine.pause(item=Item("deposit", ALICE, 1, "", None, 0), hold=0)
    assert adopted() == -7
    # A refused group of two, and a transfer between them.
    written("coins", "bob", 8)
    batch = [Item("deposit", BOB, 1, "", None, 0), Item("withdrawal", ALICE, 90, "", None, 0)]
    machine.batch(batch=batch, atomic=True)
    machine.all_is_well()
    assert adopted() == 8
    written("coins", "alice", 3)
    written("coins", "bob", 3)
    machine.one_change(item=Item("transfer", BOB, 1, "alice", None, 0))
    machine.all_is_well()
    assert adopted() == -22
    # A booking is undone as any other, and leaves the row as the ledger has it.
    machine.reverse(at=1, forced=True, key=None)
    machine.all_is_well()
    # An end by time, of alice's hold.
    written("coins", "alice", 16)
    machine.time_passes(seconds=10)
    machine.expire_holds()
    machine.all_is_well()
    # A closed account takes nothing, until it is open again.
    for place, status in ((BOB, "closed"), (BOB, "active")):
        machine.set_balance(place=BOB, balance=0, behind=None, key=None, day=0)
        machine.set_account(place=place, settings={}, status=status, key=None)
        written("coins", "bob", 7)
        change(machine, "deposit", BOB, 1)
        machine.sync_balances()
        machine.all_is_well()
    assert machine.model.accounts[BOB].balance == 8


def test_rows_that_go_and_come_back(machine: LedgerMachine) -> None:
    """What the ledger knows to be missing has no say once it is there; else it is as written."""
    machine.open(settings={}, funds=10)

    def gone_and_back(between: Callable[[], object]) -> None:
        for _ in range(2):
            machine.wallet_goes_or_comes_back(user="alice")
            machine.all_is_well()
            between()
            machine.all_is_well()

    gone_and_back(lambda: change(machine, "deposit", ALICE, 1))
    assert machine.model.accounts[ALICE].balance == 12
    gone_and_back(machine.sync_balances)
    assert machine.model.accounts[ALICE].balance == 12
    gone_and_back(lambda: change(machine, "withdrawal", ALICE, 50))
    assert machine.model.accounts[ALICE].balance == 0
    # Where the ledger wins, its value is put back, by a repair that screens are told of.
    for column in ("shadow", "credit"):
        machine.older_code_writes(column=column, user="alice", said=17)
        machine.all_is_well()
    machine.sync_balances()
    machine.all_is_well()
    assert machine.model.wrong() == []


def test_holds_that_are_changed_by_hand(machine: LedgerMachine) -> None:
    machine.open(settings={}, funds=10)
    machine.place_hold(book="line", user="alice", amount=2, seconds=None, key=None)
    # The oldest, alice's, ends; each kind of edit then meets it, and one that is open.
    machine.void_hold(at=2, key=None)
    machine.older_code_writes(column="coins", user="bob", said=3)
    for edit in (*EDITS, "deleted"):
        for at, alone in ((0, True), (1, True), (1, False), (2, True)):
            machine.hold_is_changed_and_repaired(at=at, edit=edit, alone=alone)
            machine.the_ledger_is_as_the_model()
        machine.all_is_well()
