"""Who may ask for what, without HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from tallywire.auth import Principal
from tallywire.ledger.catalog import Asset, Book, Catalog
from tallywire.ledger.errors import LedgerError, NotAllowed, UnknownBook
from tallywire.ledger.transaction_types import TransactionTypes
from tallywire.operations.charges import Charge, Payment, charge, payment
from tallywire.operations.deposits import Deposit, deposit
from tallywire.operations.transfers import Transfer, transfer
from tallywire.operations.withdrawals import Withdrawal, withdrawal

CATALOG = Catalog(
    version=1,
    paused=False,
    assets={"USD": Asset("USD", 2)},
    books={
        "main": Book(name="main", self_service=True),
        "shop": Book(name="shop"),
        "rent": Book(name="rent", side="debit", default_floor=None),
    },
)
TYPES = TransactionTypes()


def by(role: str, user_id: str = "alice") -> Principal:
    return Principal(user_id, role, 0, 0)


def request_of(form: Any, **changed: Any) -> Any:
    return form(**({"user_id": "alice", "asset": "USD", "amount": "1"} | changed))


@pytest.mark.parametrize(
    ("role", "changed", "allowed"),
    [
        ("user", {}, True),
        ("user", {"user_id": "me"}, True),
        ("user", {"user_id": "bob"}, False),
        ("user", {"book": "shop"}, False),
        ("user", {"internal": 1}, False),
        ("user", {"effective_at": "2026-01-01T00:00:00Z"}, False),
        ("auditor", {}, False),
        ("admin", {"user_id": "bob"}, True),
        ("admin", {"book": "shop", "internal": 1}, True),
        ("superadmin", {"effective_at": "2026-01-01T00:00:00Z"}, True),
    ],
)
def test_self_service(role: str, changed: dict[str, Any], allowed: bool) -> None:
    request = request_of(Withdrawal, **changed)
    if allowed:
        change = withdrawal(CATALOG, TYPES, by(role), request)
        assert (change.actor, change.actor_role) == ("alice", role)
    else:
        with pytest.raises(NotAllowed):
            withdrawal(CATALOG, TYPES, by(role), request)


def test_another_user_is_refused_before_a_book_that_does_not_exist() -> None:
    with pytest.raises(NotAllowed):
        withdrawal(CATALOG, TYPES, by("user"), request_of(Withdrawal, user_id="bob", book="no"))
    with pytest.raises(UnknownBook):
        withdrawal(CATALOG, TYPES, by("user"), request_of(Withdrawal, book="no"))


def test_a_transfer_goes_out_of_the_own_account_only() -> None:
    mine = Transfer(from_user="me", to_user="bob", asset="USD", amount="1")
    assert transfer(CATALOG, TYPES, by("user"), mine).type.name == "transfer"
    theirs = Transfer(from_user="bob", to_user="me", asset="USD", amount="1")
    with pytest.raises(NotAllowed):
        transfer(CATALOG, TYPES, by("user"), theirs)
    mine.to_user = "alice"
    with pytest.raises(LedgerError, match="two different users"):
        transfer(CATALOG, TYPES, by("user"), mine)


def test_the_role_is_the_types() -> None:
    for role, allowed in (("user", False), ("auditor", False), ("admin", True)):
        if allowed:
            assert deposit(CATALOG, TYPES, by(role), request_of(Deposit))
        else:
            with pytest.raises(NotAllowed, match="admin"):
                deposit(CATALOG, TYPES, by(role), request_of(Deposit))


def test_a_service_type_is_kept_in_the_metadata_and_wins_over_it() -> None:
    request = request_of(Charge, service_type="vps", metadata={"service_type": "x", "plan": "s"})
    change = charge(CATALOG, TYPES, by("admin"), request)
    assert change.metadata == '{"service_type":"vps","plan":"s"}'
    assert charge(CATALOG, TYPES, by("admin"), request_of(Charge)).metadata == "{}"


def test_a_book_takes_what_fits_its_side() -> None:
    assert payment(CATALOG, TYPES, by("admin"), request_of(Payment, book="rent"))
    with pytest.raises(LedgerError, match="takes no payment"):
        payment(CATALOG, TYPES, by("admin"), request_of(Payment))
    with pytest.raises(LedgerError, match="takes no deposit"):
        deposit(CATALOG, TYPES, by("admin"), request_of(Deposit, book="rent"))
