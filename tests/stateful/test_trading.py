"""
Trading against the model: see trading_machine.py for what is asked, trading_model.py for what is
right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from .conftest import EXAMPLES
from .trading_machine import PLACES, Ask, TradingMachine

FEW = 3
STEPS = 40


@pytest.mark.parametrize(
    "fresh_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)], indirect=True
)
@pytest.mark.timeout(300)
def test_any_sequence_of_trading(fresh_url: Callable[[], str]) -> None:
    machine = type("Machine", (TradingMachine,), {"fresh_url": staticmethod(fresh_url)})
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
def machine(fresh_url: Callable[[], str]) -> Iterator[TradingMachine]:
    """The same machine, to be led by hand: each step is held to the model too."""
    machine = type("Machine", (TradingMachine,), {"fresh_url": staticmethod(fresh_url)})()
    yield machine
    machine.teardown()


def test_every_end_of_an_option(machine: TradingMachine) -> None:
    """Won, lost, tied, returned; as decided in demo; over accounts of every status, and paused."""
    machine.open(price=10_000, order=PLACES)
    alice = ("demo", "alice")

    def ends(direction: str, price: int | None, at: str = "active") -> str | None:
        """How an option ends whose price moved before its expiry; `at`: its account's status."""
        machine.push(10_000)
        option = machine.ask(Ask(("option", alice, direction, 7, 5, None)))
        assert option is not None
        machine.set_account(("demo/USD", "alice"), (("status", at),))
        machine.time_passes(3)
        if price is not None:
            machine.push(price)
        machine.time_passes(3)
        # Too late for it.
        machine.push(1)
        machine.settle(callers=2)
        machine.all_is_well()
        machine.set_account(("demo/USD", "alice"), (("status", "active"),))
        return machine.model.option(option).outcome

    def decided(mode: str) -> None:
        machine.one_change(Ask(("control", alice, mode)))

    for at in ("active", "frozen"):
        assert [ends("up", price, at) for price in (10_001, 9_999, 10_000)] == [
            "win",
            "lose",
            "tie",
        ]
        assert [ends("down", price, at) for price in (10_001, 9_999, None)] == ["lose", "win", None]
    for mode in ("win", "lose"):
        decided(mode)
        # Without a price of its expiry an option is returned, whatever was decided.
        assert [ends("up", price) for price in (9_999, 10_001, None)] == [mode, mode, None]
        option = machine.ask(Ask(("option", alice, "up", 7, 5, None)))
        # What is decided later is not for what is open.
        decided("normal")
        machine.time_passes(10)
        machine.settle(callers=1)
        assert option is not None and machine.model.option(option).forced
    for outcome in ("win", "lose", "tie"):
        machine.push(10_000)
        machine.ask(Ask(("option", alice, "down", 7, 5, None)))
        machine.force(at=0, outcome=outcome, key=None)
        machine.force(at=0, outcome="win", key=None)
        machine.all_is_well()
    # A control and an option under it in one batch; then a group that is refused as a whole.
    batch = [Ask(("control", alice, "win")), Ask(("option", alice, "up", 7, 5, "o"))]
    machine.batch(batch, atomic=True)
    spot = Ask(("spot", alice, "buy", "quote", 200, None, "p"))
    machine.batch([spot, Ask(("withdrawal", ("demo/COIN", "bob"), 999))], atomic=True)
    machine.order(spot)
    machine.order(spot)
    machine.all_is_well()
    # Due while changes are paused.
    machine.time_passes(10)
    machine.pause(spot)
    machine.all_is_well()
    assert machine.model.open_options() == []
