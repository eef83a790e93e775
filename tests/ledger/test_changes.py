"""What can be asked of the ledger: every limit, before a database is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, TypedDict

import pytest
from tallywire.ledger import Change, Details, IdempotencyKey, TransactionType, TransactionTypes
from tallywire.ledger import changes as asked
from tallywire.ledger.accounts import AccountKey
from tallywire.ledger.catalog import Catalog
from tallywire.ledger.errors import InvalidAmount, InvalidRequest, UnknownAsset, UnknownBook
from tallywire.ledger.intents import ChangeAccount, Leg, OpenAccount, Post, SetBalance

TYPES = TransactionTypes()
Ask = Callable[[], Change]


class Place(TypedDict):
    asset: str
    book: str


MAIN: Place = {"asset": "USDT", "book": "main"}
FLATS: Place = {"asset": "EUR", "book": "flats"}


def deposit(catalog: Catalog, amount: str | Decimal = "1", **details: Any) -> Change:
    return asked.directed(
        catalog, TYPES["deposit"], "alice", amount, **MAIN, details=Details(**details)
    )


def refusal(change: Change) -> InvalidAmount:
    """What `change` is refused with, once nothing that comes before its amount refuses it."""
    assert isinstance(change.refusal, InvalidAmount)
    assert change.fingerprint == ""
    return change.refusal


def legs(change: Change) -> dict[str, int]:
    assert isinstance(change.intent, Post)
    assert all(leg.held_change == 0 for leg in change.intent.legs)
    return {leg.key.name: leg.amount for leg in change.intent.legs}


# Directions and sides


@pytest.mark.parametrize(
    ("name", "place", "own"),
    [
        ("deposit", MAIN, 1),
        ("recharge", MAIN, 1),
        ("withdrawal", MAIN, -1),
        ("charge", MAIN, -1),
        ("charge", FLATS, 1),
        ("payment", FLATS, -1),
    ],
)
def test_a_type_gives_the_direction(catalog: Catalog, name: str, place: Place, own: int) -> None:
    """CONSERVATION: stored credit-positive, and the other side takes the opposite."""
    kind = TYPES[name]
    directed = asked.directed(catalog, kind, "alice", "5", **place, details=Details())
    signed = asked.signed(catalog, kind, "alice", f"{5 * own}", **place, details=Details())
    units = 5_000_000 if place is MAIN else 500
    stored = own * units if place is MAIN else -own * units
    book, asset = place["book"], place["asset"]
    assert legs(directed) == {
        f"{book}/alice/{asset}": stored,
        f"{book}/{kind.counter}/{asset}": -stored,
    }
    assert signed.intent == directed.intent
    assert signed.fingerprint == directed.fingerprint
    for wrong in (
        asked.signed(catalog, kind, "alice", f"{-5 * own}", **place, details=Details()),
        asked.moved(catalog, kind, "alice", "5", -own, **place, details=Details()),
    ):
        assert refusal(wrong).pointer == "/amount"
        own_leg = legs(wrong)[f"{book}/alice/{asset}"]
        assert (own_leg > 0) == (stored > 0)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("payment", MAIN),
        ("deposit", FLATS),
        ("recharge", FLATS),
        ("withdrawal", FLATS),
    ],
)
def test_a_side_takes_its_types_only(catalog: Catalog, name: str, place: Place) -> None:
    for ask in (asked.directed, asked.signed):
        with pytest.raises(InvalidRequest) as refused:
            ask(catalog, TYPES[name], "alice", "1", **place, details=Details())
        assert refused.value.pointer == "/book"


def test_transfers_and_shared_charges_keep_to_their_side(catalog: Catalog) -> None:
    with pytest.raises(InvalidRequest):
        asked.transfer(catalog, TYPES["transfer"], "a", "b", "1", **FLATS, details=Details())
    with pytest.raises(InvalidRequest):
        asked.shared_charge(
            catalog, TYPES["shared_charge"], "1", [("a", 1)], **MAIN, details=Details()
        )


@pytest.mark.parametrize("amount", ["0", "-0", "0.000000", "-1", "1.0000000", "abc", "1e3"])
def test_a_magnitude_is_more_than_zero(catalog: Catalog, amount: str) -> None:
    asks: list[Ask] = [
        lambda: deposit(catalog, amount),
        lambda: asked.transfer(
            catalog, TYPES["transfer"], "a", "b", amount, **MAIN, details=Details()
        ),
        lambda: asked.moved(
            catalog, TYPES["adjustment"], "a", amount, 1, **MAIN, details=Details()
        ),
        lambda: asked.shared_charge(
            catalog, TYPES["shared_charge"], amount, [("a", 1)], **FLATS, details=Details()
        ),
    ]
    for ask in asks:
        assert refusal(ask()).pointer == "/amount"


@pytest.mark.parametrize(("amount", "sign"), [("0", 1), ("x", 1), ("-x", -1), ("-1.0000000", -1)])
def test_a_signed_amount_is_an_amount_but_zero(catalog: Catalog, amount: str, sign: int) -> None:
    change = asked.signed(catalog, TYPES["adjustment"], "a", amount, **MAIN, details=Details())
    assert refusal(change).pointer == "/amount"
    assert legs(change) == {"main/a/USDT": sign, "main/@house/USDT": -sign}


def test_types_are_used_for_what_they_are(catalog: Catalog) -> None:
    """CONSERVATION: no call makes of a type what the type is not."""
    details = Details()
    shares = [("a", 1)]
    to_user = TransactionType(name="gift", direction="up", counter="user")
    wrong: list[Ask] = [
        lambda: asked.directed(catalog, TYPES["adjustment"], "a", "1", **MAIN, details=details),
        lambda: asked.directed(catalog, TYPES["transfer"], "a", "1", **MAIN, details=details),
        lambda: asked.signed(catalog, TYPES["transfer"], "a", "1", **MAIN, details=details),
        lambda: asked.signed(catalog, TYPES["account_opened"], "a", "1", **MAIN, details=details),
        lambda: asked.directed(catalog, to_user, "a", "1", **MAIN, details=details),
        lambda: asked.transfer(catalog, TYPES["deposit"], "a", "b", "1", **MAIN, details=details),
        lambda: asked.set_balance(catalog, TYPES["deposit"], "a", "1", **MAIN, details=details),
        lambda: asked.set_balance(catalog, TYPES["transfer"], "a", "1", **MAIN, details=details),
        lambda: asked.shared_charge(
            catalog, TYPES["adjustment"], "1", shares, **MAIN, details=details
        ),
        lambda: asked.shared_charge(
            catalog, TYPES["transfer"], "1", shares, **MAIN, details=details
        ),
        lambda: asked.shared_charge(catalog, to_user, "1", shares, **MAIN, details=details),
    ]
    for ask in wrong:
        with pytest.raises(InvalidRequest):
            ask()


@pytest.mark.parametrize("weight", [1.5, True, "1", Decimal(1), None])
def test_a_weight_is_a_whole_number(catalog: Catalog, weight: Any) -> None:
    """HTTP's schema sees to it; from Python it would be split all the same."""
    with pytest.raises(InvalidRequest) as refused:
        asked.shared_charge(
            catalog,
            TYPES["shared_charge"],
            "1",
            [("a", 2), ("b", weight)],
            **FLATS,
            details=Details(),
        )
    assert refused.value.pointer == "/shares"


def test_a_transfer_has_two_users(catalog: Catalog) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asked.transfer(catalog, TYPES["transfer"], "a", "a", "1", **MAIN, details=Details())
    assert refused.value.pointer == "/to_user"
    for from_user, to_user, pointer in (("@house", "b", "/from_user"), ("a", "me", "/to_user")):
        with pytest.raises(InvalidRequest) as refused:
            asked.transfer(
                catalog, TYPES["transfer"], from_user, to_user, "1", **MAIN, details=Details()
            )
        assert refused.value.pointer == pointer


@pytest.mark.parametrize("user", ["@world", "@house", "", "me", "a\x00"])
def test_nobody_names_a_system_account(catalog: Catalog, user: str) -> None:
    details = Details()
    asks: list[Ask] = [
        lambda: asked.directed(catalog, TYPES["deposit"], user, "1", **MAIN, details=details),
        lambda: asked.set_balance(catalog, TYPES["adjustment"], user, "1", **MAIN, details=details),
        lambda: asked.open_account(
            catalog, TYPES["account_opened"], user, **MAIN, settings={}, details=details
        ),
        lambda: asked.change_account(
            catalog,
            TYPES["account_changed"],
            user,
            **MAIN,
            settings={"status": "frozen"},
            details=details,
        ),
        lambda: asked.shared_charge(
            catalog, TYPES["shared_charge"], "1", [(user, 1)], **FLATS, details=details
        ),
    ]
    for ask in asks:
        with pytest.raises(InvalidRequest):
            ask()


def test_unknown_places(catalog: Catalog) -> None:
    for place, error in (
        ({"asset": "USDT", "book": "nowhere"}, UnknownBook),
        ({"asset": "XYZ", "book": "main"}, UnknownAsset),
        ({"asset": "usdt", "book": "main"}, UnknownAsset),
        ({"asset": ["USDT"], "book": "main"}, UnknownAsset),
        ({"asset": "USDT", "book": {"main": 1}}, UnknownBook),
    ):
        broken: Any = place
        with pytest.raises(error):
            asked.directed(catalog, TYPES["deposit"], "a", "1", **broken, details=Details())


# Shared charges


def test_shares_are_distinct_and_weighted(catalog: Catalog) -> None:
    def share(*shares: tuple[str, int], amount: str = "0.05") -> Change:
        return asked.shared_charge(
            catalog, TYPES["shared_charge"], amount, list(shares), **FLATS, details=Details()
        )

    for wrong in ((), (("a", 1), ("a", 1)), (("a", 0),), (("a", 2), ("b", -1))):
        with pytest.raises(InvalidRequest):
            share(*wrong)
    assert legs(share(("a", 1), ("b", 0), ("c", 1))) == {
        "flats/a/EUR": -3,
        "flats/b/EUR": 0,
        "flats/c/EUR": -2,
        "flats/@house/EUR": 5,
    }
    many = [(f"user-{number}", 1) for number in range(999)]
    assert len(legs(share(*many, amount="999"))) == 1000
    with pytest.raises(InvalidRequest, match="1 to 999"):
        share(*many, ("one-more", 1))


# Setting a balance, and accounts


def test_set_balance_keeps_the_wish(catalog: Catalog) -> None:
    change = asked.set_balance(
        catalog, TYPES["adjustment"], "a", "-2.50", if_seq=3, **FLATS, details=Details()
    )
    assert change.intent == SetBalance(
        AccountKey("flats", "a", "EUR"), AccountKey("flats", "@house", "EUR"), -250, 3
    )
    broken = asked.set_balance(catalog, TYPES["adjustment"], "a", "x", **FLATS, details=Details())
    assert refusal(broken).pointer == "/new_balance"


def test_settings_of_accounts(catalog: Catalog) -> None:
    opened = asked.open_account(
        catalog,
        TYPES["account_opened"],
        "a",
        **MAIN,
        settings={"floor": "-5", "suspend_below": None, "alert_below": "1.5"},
        details=Details(),
    )
    key = AccountKey("main", "a", "USDT")
    assert opened.intent == OpenAccount(
        key, {"floor": -5_000_000, "suspend_below": None, "alert_below": 1_500_000}
    )
    changed = asked.change_account(
        catalog,
        TYPES["account_changed"],
        "a",
        **MAIN,
        settings={"status": "closed"},
        details=Details(),
    )
    assert changed.intent == ChangeAccount(key, {"status": "closed"})


@pytest.mark.parametrize(
    ("place", "settings", "pointer"),
    [
        (MAIN, {}, None),
        (MAIN, {"status": "suspended"}, "/status"),
        (MAIN, {"status": None}, "/status"),
        (MAIN, {"status": ["frozen"]}, "/status"),
        (MAIN, {"colour": "red"}, "/colour"),
        (FLATS, {"floor": "0"}, "/floor"),
        (FLATS, {"suspend_below": "0"}, "/suspend_below"),
    ],
)
def test_settings_refused(
    catalog: Catalog, place: Place, settings: dict[str, Any], pointer: str | None
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asked.change_account(
            catalog, TYPES["account_changed"], "a", **place, settings=settings, details=Details()
        )
    assert refused.value.pointer == pointer


@pytest.mark.parametrize("name", ["floor", "suspend_below"])
def test_a_debit_book_knows_that_it_has_none(catalog: Catalog, name: str) -> None:
    asked.change_account(
        catalog,
        TYPES["account_changed"],
        "a",
        **FLATS,
        settings={name: None},
        details=Details(),
    )


@pytest.mark.parametrize("value", [5, "x", "1.0000001", "9223372036854.775808"])
def test_thresholds_are_amounts(catalog: Catalog, value: Any) -> None:
    change = asked.change_account(
        catalog,
        TYPES["account_changed"],
        "a",
        **MAIN,
        settings={"floor": value, "alert_below": "x"},
        details=Details(),
    )
    assert refusal(change).pointer == "/floor"


def test_a_new_account_has_no_status_to_choose(catalog: Catalog) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asked.open_account(
            catalog,
            TYPES["account_opened"],
            "a",
            **MAIN,
            settings={"status": "frozen"},
            details=Details(),
        )
    assert refused.value.pointer == "/status"


# Texts


def test_texts_up_to_their_limits(catalog: Catalog) -> None:
    change = deposit(catalog, description="é" * 500, reference="r" * 255)
    assert change.description == "é" * 500
    for details in ({"description": "x" * 501}, {"reference": "x" * 256}):
        with pytest.raises(InvalidRequest) as refused:
            deposit(catalog, **details)
        assert refused.value.pointer == f"/{next(iter(details))}"


@pytest.mark.parametrize("bad", ["a\x00b", "\ud800", "x\udfff"])
@pytest.mark.parametrize("field", ["description", "reference", "actor", "actor_role"])
def test_texts_that_no_database_stores(catalog: Catalog, field: str, bad: str) -> None:
    """REJECTION_ATOMICITY: found before the change shares a batch with others."""
    with pytest.raises(InvalidRequest) as refused:
        deposit(catalog, **{field: bad})
    assert refused.value.pointer == f"/{field}"


@pytest.mark.parametrize("bad", ["a\x00b", "\ud800", "x" * 261, "", 7, None])
def test_keys_that_no_database_stores(catalog: Catalog, bad: Any) -> None:
    """REJECTION_ATOMICITY: found before the change shares a batch with others."""
    with pytest.raises(InvalidRequest):
        deposit(catalog, key=IdempotencyKey("request", "root", bad))
    if bad != "":
        return
    with pytest.raises(InvalidRequest):
        deposit(catalog, key=IdempotencyKey("request", "\ud800", "k"))


def test_control_characters_are_text(catalog: Catalog) -> None:
    assert deposit(catalog, description="a\nb\t\x01").description == "a\nb\t\x01"


@pytest.mark.parametrize("field", ["metadata", "internal"])
@pytest.mark.parametrize(
    "bad",
    [
        {"a": "\x00"},
        {"\x00": 1},
        {"a": ["\ud800"]},
        {"\udfff": 1},
        {"a": object()},
        {"a": "x" * 4089},
        {"a": {"b": {"c": {"d": {"e": {}}}}}},
        {"a": [[[[[]]]]]},
    ],
)
def test_json_refused(catalog: Catalog, field: str, bad: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        deposit(catalog, **{field: bad})
    assert refused.value.pointer == f"/{field}"


def test_json_up_to_its_limits(catalog: Catalog) -> None:
    deep = {"a": {"b": {"c": {"d": {"e": 1}}}}}
    full = {"a": "x" * 4088}
    assert len(json.dumps(full, separators=(",", ":"))) == 4096
    for fits in (deep, full, {"ü": [1, 2.5, None, True, "\n"]}):
        assert json.loads(deposit(catalog, metadata=fits).metadata) == fits
    # Counted in bytes, not in characters.
    with pytest.raises(InvalidRequest):
        deposit(catalog, metadata={"a": "é" * 2045})


@pytest.mark.parametrize("bad", ["x", 1, ["a"], True])
def test_metadata_is_an_object(catalog: Catalog, bad: Any) -> None:
    with pytest.raises(InvalidRequest):
        deposit(catalog, metadata=bad)


# Effective dates


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (None, None),
        ("2026-01-31T22:30:00Z", "2026-01-31T22:30:00.000000Z"),
        ("2026-02-01T00:30:00+02:00", "2026-01-31T22:30:00.000000Z"),
        (datetime(2026, 1, 31, 22, 30, tzinfo=UTC), "2026-01-31T22:30:00.000000Z"),
        (
            datetime(2026, 2, 1, 0, 30, 0, 5, tzinfo=timezone(timedelta(hours=2))),
            "2026-01-31T22:30:00.000005Z",
        ),
        ("0800-12-25T00:00:00Z", "0800-12-25T00:00:00.000000Z"),
    ],
)
def test_effective_at_is_a_time(catalog: Catalog, value: Any, stored: str | None) -> None:
    assert deposit(catalog, effective_at=value).effective_at == stored


@pytest.mark.parametrize(
    "value",
    [
        "",
        "yesterday",
        "2026-01-31",
        "2026-01-31T22:30:00",
        "2026-02-30T00:00:00Z",
        1769898600,
        datetime(2026, 1, 31),  # noqa: DTZ001
        # No day of every time zone: some book could not tell whether it was closed then.
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
    ],
)
def test_effective_at_refused(catalog: Catalog, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        deposit(catalog, effective_at=value)
    assert refused.value.pointer == "/effective_at"


# What makes it the same request


def test_the_fingerprint_is_of_the_meaning(catalog: Catalog) -> None:
    """IDEMPOTENT_REPLAY: the same request, however it was written."""
    first = deposit(catalog, "1.50", metadata={"a": 1, "b": {"x": 1, "y": 2}})
    again = deposit(catalog, Decimal("1.5"), metadata={"b": {"y": 2, "x": 1}, "a": 1}, actor="b")
    assert first.fingerprint == again.fingerprint
    east = deposit(catalog, effective_at="2026-02-01T00:30:00+02:00")
    west = deposit(catalog, effective_at="2026-01-31T22:30:00Z")
    assert east.fingerprint == west.fingerprint
    assert deposit(catalog).fingerprint == deposit(catalog, metadata={}).fingerprint


def test_the_fingerprint_tells_requests_apart(catalog: Catalog) -> None:
    """IDEMPOTENT_CONFLICT: whatever differs, however little."""
    details = Details()
    place: Place = {"asset": "USD", "book": "main"}
    requests = [
        deposit(catalog),
        deposit(catalog, "1.000001"),
        deposit(catalog, description="x"),
        deposit(catalog, reference="x"),
        deposit(catalog, reference=""),
        deposit(catalog, metadata={"x": 1}),
        deposit(catalog, metadata={"x": "1"}),
        deposit(catalog, internal={"x": 1}),
        deposit(catalog, effective_at="2026-01-31T22:30:00Z"),
        asked.directed(catalog, TYPES["recharge"], "alice", "1", **MAIN, details=details),
        asked.directed(catalog, TYPES["deposit"], "bob", "1", **MAIN, details=details),
        asked.directed(catalog, TYPES["deposit"], "alice", "1", **place, details=details),
        asked.directed(
            catalog, TYPES["deposit"], "alice", "1", asset="USDT", book="demo", details=details
        ),
        asked.transfer(catalog, TYPES["transfer"], "a", "b", "1", **MAIN, details=details),
        asked.transfer(catalog, TYPES["transfer"], "b", "a", "1", **MAIN, details=details),
        asked.signed(catalog, TYPES["adjustment"], "a", "1", **MAIN, details=details),
        asked.signed(catalog, TYPES["adjustment"], "a", "-1", **MAIN, details=details),
        asked.set_balance(catalog, TYPES["adjustment"], "a", "1", **MAIN, details=details),
        asked.set_balance(
            catalog, TYPES["adjustment"], "a", "1", if_seq=1, **MAIN, details=details
        ),
    ]
    assert len({change.fingerprint for change in requests}) == len(requests)


def test_a_transaction_too_big_to_deliver_is_refused(catalog: Catalog) -> None:
    many = [(f"user-{number}", 1) for number in range(999)]
    with pytest.raises(InvalidRequest, match="too long"):
        asked.shared_charge(
            catalog,
            TYPES["shared_charge"],
            "999",
            many,
            **FLATS,
            details=Details(metadata={"note": "x" * 4000}),
        )


def test_a_leg_is_not_held_unless_said() -> None:
    assert Leg(AccountKey("main", "a", "USD"), 5).held_change == 0
