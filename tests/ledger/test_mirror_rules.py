"""Which row is whose, what its value says, and which mirrors cannot be."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallywire.ledger import BalanceManager
from tallywire.ledger.accounts import AccountKey
from tallywire.ledger.errors import (
    Conflict,
    InvalidAmount,
    InvalidRequest,
    LedgerError,
    NotFound,
    UnknownAsset,
    UnknownBook,
)
from tallywire.ledger.mirrors.mirror import KeyColumn, Mirror
from tallywire.ledger.money import LARGEST

from .raw import execute, rows

USERS: dict[str, Any] = {
    "table": "users",
    "column": "balance",
    "key": {"id": "{owner}"},
    "asset": "USD",
}


def mirror(
    *key: tuple[str, str], book: str = "main", kind: str = "decimal", **changed: Any
) -> Mirror:
    return Mirror(
        id=1,
        name="m",
        table="t",
        column="c",
        kind=kind,  # type: ignore[arg-type]
        key=tuple(KeyColumn(f"k{n}", type_, text) for n, (type_, text) in enumerate(key)),
        book=book,
        asset="USD",
        value="balance",
        on_failure="abort",
        on_drift="adopt",
        mode="write",
        **changed,
    )


@pytest.mark.parametrize(
    ("type_", "owner", "fits"),
    [
        ("bigint", "12", True),
        ("bigint", "-12", True),
        ("bigint", "012", False),
        ("bigint", "-0", False),
        ("bigint", "1.0", False),
        ("bigint", "\u0661", False),
        ("bigint", str(2**63), False),
        ("integer", str(2**31 - 1), True),
        ("integer", str(2**31), False),
        ("smallint", "40000", False),
        ("uuid", "0190a000-0000-7000-8000-000000000001", True),
        ("uuid", "0190A000-0000-7000-8000-000000000001", False),
        ("uuid", "alice", False),
        ("text", "anything: '\"{x}", True),
        ("bpchar", "ann ", False),
    ],
)
def test_what_a_key_can_hold(type_: str, owner: str, fits: bool) -> None:
    row = mirror((type_, "{owner}")).row_of(AccountKey("main", owner, "USD"))
    assert row == ((owner,) if fits else ())


def test_whose_accounts() -> None:
    of_games = mirror(("bigint", "{game}"), ("text", "{owner}"), book="game:{game}.x")
    assert of_games.row_of(AccountKey("game:7.x", "ann", "USD")) == ("7", "ann")
    for book, owner, asset in [
        ("game:7.x", "ann", "EUR"),
        ("game:7.x", "@house", "USD"),
        ("game:7", "ann", "USD"),
        ("game:7:8.x", "ann", "USD"),
        ("game:.x", "ann", "USD"),
        ("game:7-x", "ann", "USD"),
        ("main", "ann", "USD"),
    ]:
        assert of_games.row_of(AccountKey(book, owner, asset)) is None


@given(st.integers(-LARGEST, LARGEST), st.integers(0, 12), st.sampled_from(["integer", "decimal"]))
def test_values_are_exact(minor: int, scale: int, kind: str) -> None:
    """Whatever an exact column can hold comes back, with zeros behind it too."""
    m = mirror(("text", "{owner}"), kind=kind)
    said = m.text_of(minor, scale)
    assert m.minor_of(said, scale) == minor
    assert m.minor_of(Decimal(said), scale) == minor
    if kind == "decimal":
        longer = Decimal(said + ("" if scale else ".") + "0" * 20)
        assert m.minor_of(longer, scale) == minor


@given(st.integers(-(10**15) + 1, 10**15 - 1), st.integers(0, 12))
def test_a_float_says_fifteen_digits(minor: int, scale: int) -> None:
    """SQLite's decimals."""
    m = mirror(("text", "{owner}"))
    assert m.minor_of(float(m.text_of(minor, scale)), scale) == minor
    assert m.minor_of(0.1 + 0.2, 2) == 30


@given(
    st.integers(-(10**12), 10**12), st.lists(st.integers(-(10**7), 10**7), min_size=1), st.data()
)
def test_sums_of_floats_are_amounts(start: int, turns: list[int], data: st.DataObject) -> None:
    """What older code adds up in SQLite, many times over; a third decimal is none of its noise."""
    m = mirror(("text", "{owner}"))
    said, minor = start / 100, start
    for turn in turns * 5:
        said, minor = said + turn / 100, minor + turn
    assert m.minor_of(said, 2) == minor
    odd = data.draw(st.integers(1, 9))
    if abs(minor) < 10**11:
        with pytest.raises(InvalidAmount):
            m.minor_of(said + odd / 1000, 2)


@pytest.mark.parametrize(
    "stored", ["0.001", 0.001, Decimal("NaN"), float("inf"), "many", str(2**63), b"1", True]
)
def test_what_is_no_amount(stored: Any) -> None:
    m = mirror(("text", "{owner}"))
    if stored is True:
        assert m.minor_of(stored, 2) == 100
        return
    with pytest.raises(InvalidAmount):
        m.minor_of(stored, 2)
    assert m.minor_of(None, 2) is None


REFUSED: list[tuple[dict[str, Any], type[LedgerError], str]] = [
    ({"table": "nowhere"}, InvalidRequest, "no table"),
    ({"table": "a.b.c"}, InvalidRequest, "table"),
    ({"table": "accounts"}, InvalidRequest, "own"),
    ({"column": "nothing"}, InvalidRequest, "no column"),
    ({"column": "name"}, InvalidRequest, "neither"),
    ({"column": "ratio"}, InvalidRequest, "neither"),
    ({"column": "id"}, InvalidRequest, "part of the key"),
    ({"asset": "USDT"}, InvalidRequest, "2 decimals and the asset 6"),
    ({"column": "points", "kind": "decimal"}, InvalidRequest, "0 decimals"),
    ({"kind": "float"}, InvalidRequest, "kind"),
    ({"asset": "XXX"}, UnknownAsset, "XXX"),
    ({"book": "nowhere"}, UnknownBook, "nowhere"),
    ({"book": "rent", "value": "available"}, InvalidRequest, "debit"),
    ({"value": "held"}, InvalidRequest, "value"),
    ({"value": "total_in"}, InvalidRequest, "adopt"),
    ({"value": "total_earned"}, InvalidRequest, "adopt"),
    ({"on_failure": "ignore"}, InvalidRequest, "on_failure"),
    ({"on_drift": "ignore"}, InvalidRequest, "on_drift"),
    ({"mode": "read"}, InvalidRequest, "mode"),
    ({"key": {}}, InvalidRequest, "owner"),
    ({"key": {"id": "7"}}, InvalidRequest, "owner"),
    ({"key": {"name": "{owner}"}}, InvalidRequest, "unique"),
    ({"key": {"nothing": "{owner}"}}, InvalidRequest, "no column"),
    ({"key": {"id": "{user}"}}, InvalidRequest, "user"),
    ({"key": {"id": "{owner}{asset}"}}, InvalidRequest, "at most one"),
    ({"key": {"id": "{owner"}}, InvalidRequest, "at most one"),
    ({"book": "game:{game}"}, InvalidRequest, "share a row"),
    ({"book": "game:{a}{b}"}, InvalidRequest, "book"),
    ({"book": "game:{owner}"}, InvalidRequest, "book"),
    ({"book": ""}, InvalidRequest, "book"),
]


@pytest.fixture
async def users(ledger: BalanceManager, database_url: str) -> str:
    await ledger.administration.put_book("rent", {"side": "debit"}, actor="root")
    await execute(
        database_url,
        "CREATE TABLE users (id INTEGER PRIMARY KEY, name VARCHAR(20), ratio FLOAT,"
        " balance DECIMAL(12, 2), points BIGINT)",
    )
    return database_url


async def test_mirrors_that_cannot_be(ledger: BalanceManager, users: str) -> None:
    for changed, error, said in REFUSED:
        with pytest.raises(error, match=said):
            await ledger.register_mirror("balance", **{**USERS, **changed})
    with pytest.raises(InvalidRequest, match="name"):
        await ledger.register_mirror("", **USERS)
    with pytest.raises(NotFound):
        await ledger.unregister_mirror("balance")
    assert await rows(users, "SELECT * FROM mirrors") == []


async def test_registering_again(ledger: BalanceManager, users: str) -> None:
    """The same changes nothing; another mirror cannot have the column; the scale is fixed."""
    await ledger.administration.put_asset("GBP", scale=2, actor="root")
    await ledger.register_mirror("balance", **USERS, actor="root")
    version = ledger.catalog.version
    await ledger.register_mirror("balance", **USERS, actor="root")
    assert ledger.catalog.version == version
    with pytest.raises(Conflict, match="balance"):
        await ledger.register_mirror("other", **{**USERS, "asset": "GBP"})
    await ledger.register_mirror("balance", **{**USERS, "asset": "GBP"}, actor="root")
    with pytest.raises(Conflict, match="GBP"):
        await ledger.administration.put_asset("GBP", scale=3, actor="root")
    audited = await rows(users, "SELECT actor, action, target FROM audit ORDER BY id")
    assert [tuple(row.values()) for row in audited][-2:] == [("root", "mirror_set", "balance")] * 2
