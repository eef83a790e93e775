"""The registry of types says what the contract's table says."""

from __future__ import annotations

from typing import Any

import pytest
from tallywire.ledger import TransactionType, TransactionTypes
from tallywire.ledger.errors import InvalidRequest

# name: other side, counted, sign on a credit book, sign on a debit book (None: not taken)
TABLE: dict[str, tuple[str | None, bool, int | None, int | None]] = {
    "deposit": ("@world", True, 1, None),
    "recharge": ("@world", True, 1, None),
    "withdrawal": ("@world", True, -1, None),
    "charge": ("@house", True, -1, 1),
    "shared_charge": ("@house", True, None, 1),
    "payment": ("@world", True, None, -1),
    "transfer": ("user", False, 0, None),
    "adjustment": ("@house", False, 0, 0),
    "account_opened": (None, False, 0, 0),
    "account_changed": (None, False, 0, 0),
    "adoption": ("@house", False, 0, 0),
    "opening_balance": ("@opening", False, 0, 0),
    "hold_placed": (None, False, 0, None),
    "hold_confirmed": ("@world", False, -1, None),
    "hold_voided": (None, False, 0, None),
    "hold_expired": (None, False, 0, None),
    "reversal": (None, False, 0, 0),
    "repair": (None, False, 0, 0),
}


@pytest.mark.parametrize("name", TABLE)
def test_each_type_is_as_in_the_contract(name: str) -> None:
    counter, counts, on_credit, on_debit = TABLE[name]
    kind = TransactionTypes()[name]
    assert (kind.counter, kind.counts) == (counter, counts)
    assert ("credit" in kind.sides, "debit" in kind.sides) == (
        on_credit is not None,
        on_debit is not None,
    )
    if on_credit is not None:
        assert kind.sign("credit") == on_credit
    if on_debit is not None:
        assert kind.sign("debit") == on_debit
    assert kind.reversible == (kind.counter is not None and name != "hold_confirmed")
    assert kind.lifts_suspension == (name == "recharge")


def test_lists_by_what_types_do() -> None:
    types = TransactionTypes()
    assert [kind.name for kind in types.payments()] == ["payment"]
    assert {kind.name for kind in types.charges()} == {"charge", "shared_charge"}
    assert {kind.name for kind in types.counted()} == {
        name for name, (_, counts, _, _) in TABLE.items() if counts
    }
    assert types.earnings() == []
    reward = TransactionType(name="reward", direction="up", counter="@house", earning=True)
    types.register(reward)
    assert types.earnings() == [reward]
    assert reward not in types.counted()


def test_an_application_adds_its_own() -> None:
    types = TransactionTypes()
    bonus = TransactionType(name="bonus", direction="up", counter="@house", counts=True)
    assert types.register(bonus) is bonus
    assert types["bonus"] is bonus
    assert "bonus" in types
    # Registering the same again is how a module is imported twice.
    types.register(TransactionType(name="bonus", direction="up", counter="@house", counts=True))
    with pytest.raises(InvalidRequest, match="exists already"):
        types.register(TransactionType(name="bonus", direction="down", counter="@house"))
    with pytest.raises(InvalidRequest, match="exists already"):
        types.register(TransactionType(name="deposit", direction="down", counter="@house"))


@pytest.mark.parametrize(
    "wrong",
    [{"direction": "sideways"}, {"counter": "alice"}, {"direction": "none", "earning": True}],
)
def test_a_type_moves_money_somewhere(wrong: dict[str, Any]) -> None:
    types = TransactionTypes()
    with pytest.raises(InvalidRequest):
        types.register(
            TransactionType(**{"name": "odd", "direction": "up", "counter": "@house", **wrong})
        )
    assert "odd" not in types


def test_registries_do_not_share() -> None:
    TransactionTypes().register(TransactionType(name="x", direction="up", counter="@house"))
    with pytest.raises(InvalidRequest, match="no transaction type 'x'"):
        TransactionTypes()["x"]
