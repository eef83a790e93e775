"""The ledger against the model: see machine.py for what is asked, model.py for what is right."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from ..services.postgres import PostgresServer
from .machine import Item, LedgerMachine

# The same few in every run; `make stateful` tries others, and makes what fails as short as it can.
EXAMPLES = int(os.environ.get("STATEFUL_EXAMPLES", "0"))
FEW = 6
STEPS = 60


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Gives the address of a fresh database at each call, schema in place."""
    if request.param == "sqlite":
        template = request.getfixturevalue("_sqlite_template")
        numbers = iter(range(1_000_000))

        def copy() -> str:
            file = tmp_path / f"{next(numbers)}.db"
            shutil.copyfile(template, file)
            return f"sqlite+aiosqlite:///{file}"

        yield copy
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    schema = request.getfixturevalue("_postgres_template")
    made: list[str] = []

    def create() -> str:
        while made:
            server.drop_database(made.pop())
        made.append(server.create_database(schema))
        return server.url(made[-1])

    yield create
    while made:
        server.drop_database(made.pop())


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


def test_the_corners_that_chance_seldom_finds(fresh_url: Callable[[], str]) -> None:
    """The same machine, led by hand: each step is held to the model too."""
    machine = type("Machine", (LedgerMachine,), {"fresh_url": staticmethod(fresh_url)})()
    alice, bob, line = ("main", "alice"), ("main", "bob"), ("line", "alice")

    def change(kind: str, place: tuple[str, str], amount: int) -> None:
        machine.one_change(item=Item(kind, place, amount, "", None, 0))
        machine.all_is_well()

    try:
        machine.open(settings={"suspend_below": 5, "alert_below": 10}, funds=10)
        machine.all_is_well()
        # The hold took alice from 10 to 7, above her threshold; then below it, and half way back.
        change("withdrawal", alice, 4)
        machine.place_hold(book="main", user="alice", amount=1, seconds=None, key=None)
        change("recharge", alice, 1)
        change("withdrawal", alice, 1)
        change("recharge", alice, 9)
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
        machine.set_account(place=line, settings={"floor": 20}, status=None, key=None)
        change("deposit", line, 1)
        change("withdrawal", line, 1)
        change("deposit", bob, 5)
        change("withdrawal", bob, 14)
        for forced in (False, True, True):
            machine.reverse(at=1 if not forced else 0, forced=forced, key=None)
            machine.all_is_well()
    finally:
        machine.teardown()
