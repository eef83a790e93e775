"""The encoded update: what each reader gets of one transaction, and which readers want it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from tallywire.ledger import Batch, Committed, Receipt, UpdateFilter
from tallywire.ledger.errors import InvalidRequest
from tallywire.ledger.updates import encode_updates, with_epoch

ADMIN = {"internal": {"note": 1}, "actor": "root", "actor_role": "admin", "idempotency_key": "k"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def committed(*bodies: dict[str, Any], users: list[str] | None = None) -> Committed:
    seen = [body["user_id"] for body in bodies] if users is None else users
    return Committed(7, "an-id", "deposit", encode_updates(seen, ADMIN, bodies))


def body(user: str | None, **fields: Any) -> dict[str, Any]:
    return {"position": 7, "user_id": user, **fields}


def test_each_user_has_a_body_and_admins_see_more() -> None:
    stored = committed(body("alice"), body("bob"))
    assert stored.users() == ("alice", "bob")
    assert [(user, json.loads(text)) for user, text in stored.user_bodies()] == [
        ("alice", body("alice")),
        ("bob", body("bob")),
    ]
    assert [json.loads(text) for text in stored.admin_bodies()] == [
        {**body("alice"), **ADMIN},
        {**body("bob"), **ADMIN},
    ]
    assert all(text.startswith(b'{"position":7,') for text in stored.admin_bodies())


def test_a_transaction_that_nobody_sees_has_one_body() -> None:
    stored = committed(body(None), users=[])
    assert stored.users() == ()
    assert [(user, json.loads(text)) for user, text in stored.user_bodies()] == [(None, body(None))]
    assert [json.loads(text) for text in stored.admin_bodies()] == [{**body(None), **ADMIN}]


@given(st.lists(st.text(min_size=1, max_size=10), min_size=1, max_size=4, unique=True), JSON)
def test_whatever_the_texts_hold(users: list[str], metadata: Any) -> None:
    """Lines part the bodies: no text of a user's may bring one in."""
    raw = Raw(json.dumps(metadata, separators=(",", ":")).encode())
    stored = committed(*(body(user, metadata=raw, description="\n\r\u2028") for user in users))
    assert stored.users() == tuple(users)
    for (user, text), admin in zip(stored.user_bodies(), stored.admin_bodies(), strict=True):
        update = json.loads(text)
        assert (update["user_id"], update["metadata"]) == (user, metadata)
        assert json.loads(admin) == {**update, **ADMIN}


def test_the_epoch_comes_first() -> None:
    (text,) = [body for _, body in committed(body("alice")).user_bodies()]
    assert with_epoch("e-1", text).startswith(b'{"epoch":"e-1","position":7,')
    assert json.loads(with_epoch("e-1", text)) == {"epoch": "e-1", **body("alice")}


def test_a_receipt_shows_each_what_they_may_see() -> None:
    receipt = Receipt(committed(body("alice"), body("bob")), "e-1")
    assert (receipt.transaction_id, receipt.position, receipt.replayed) == ("an-id", 7, False)
    assert [update["user_id"] for update in receipt.updates] == ["alice", "bob"]
    assert receipt.updates[0]["actor"] == "root"
    (own,) = receipt.encoded_updates("bob")
    assert json.loads(own) == {"epoch": "e-1", **body("bob")}
    assert receipt.encoded_updates("eve") == []


def test_a_batch_is_its_transactions() -> None:
    stored = committed(body("alice"))
    assert Batch("e-1", 7, 7, (stored,)).transactions[0] is stored


# The filter

CHANGES = [
    {"book": "main", "asset": "USDT", "amount": "-5.000000"},
    {"book": "demo", "asset": "USD", "amount": "100.00"},
]
UPDATE = {"user_id": "alice", "change_type": "spot_buy", "changes": CHANGES}


@pytest.mark.parametrize(
    ("conditions", "passes"),
    [
        ({}, True),
        ({"user_id": None}, True),
        ({"user_id": "alice"}, True),
        ({"user_id": "bob"}, False),
        ({"change_type": "spot_buy"}, True),
        ({"change_type": "deposit"}, False),
        ({"asset": "USD"}, True),
        ({"asset": "EUR"}, False),
        ({"book": "main", "asset": "USDT"}, True),
        # Both are there, but not in one change.
        ({"book": "main", "asset": "USD"}, False),
        ({"min_amount": "5"}, True),
        ({"min_amount": "5", "asset": "USDT"}, True),
        ({"min_amount": "5.01", "asset": "USDT"}, False),
        ({"min_amount": "100.000"}, True),
        ({"min_amount": "100.01"}, False),
        ({"min_amount": "100", "user_id": "alice", "change_type": "spot_buy"}, True),
        ({"min_amount": "100", "user_id": "bob"}, False),
        ({"min_amount": "9223372036854775807"}, False),
    ],
)
def test_one_change_meets_every_condition(conditions: dict[str, Any], passes: bool) -> None:
    assert UpdateFilter.parse(conditions).matches(UPDATE) is passes


OF_A_TRADE = {"trade": {"pair": "BTC-USD", "book": "demo"}}
OF_A_CONTROL = {"control": {"mode": "win", "book": "demo"}}


@pytest.mark.parametrize(
    ("about", "conditions", "passes"),
    [
        ({}, {"user_id": "alice"}, True),
        ({}, {"asset": "USD"}, False),
        ({}, {"book": "main"}, False),
        ({}, {"min_amount": "0"}, False),
        (OF_A_TRADE, {"book": "demo", "asset": "USD", "min_amount": "0"}, True),
        (OF_A_TRADE, {"book": "main"}, False),
        (OF_A_TRADE, {"asset": "BTC"}, False),
        (OF_A_TRADE, {"min_amount": "0.01"}, False),
        (OF_A_TRADE, {"book": "demo", "user_id": "bob"}, False),
        (OF_A_CONTROL, {"book": "demo"}, True),
        (OF_A_CONTROL, {"book": "main"}, False),
        (OF_A_CONTROL, {"asset": "USD"}, False),
    ],
)
def test_an_update_without_changes(
    about: dict[str, Any], conditions: dict[str, Any], passes: bool
) -> None:
    empty = {**UPDATE, "changes": [], **about}
    assert UpdateFilter.parse(conditions).matches(empty) is passes


@pytest.mark.parametrize(
    "conditions",
    [
        {"colour": "red"},
        {"user_id": 7},
        {"asset": ["USD"]},
        {"min_amount": 5},
        {"min_amount": "x"},
        {"min_amount": ""},
        {"min_amount": "NaN"},
        {"min_amount": "Infinity"},
    ],
)
def test_conditions_that_cannot_be(conditions: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        UpdateFilter.parse(conditions)
    assert refused.value.pointer == f"/filter/{next(iter(conditions))}"
