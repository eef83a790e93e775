"""Names of accounts and of users."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallywire.ledger.accounts import AccountKey, check_user_id
from tallywire.ledger.errors import InvalidRequest

any_user = st.text(min_size=1, max_size=128).filter(
    lambda text: text not in ("me", ".", "..") and not text.startswith("@")
)


def _is_valid(user: str) -> bool:
    return not re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", user)


@given(any_user)
def test_a_name_says_its_account(user: str) -> None:
    if not _is_valid(user):
        with pytest.raises(InvalidRequest):
            check_user_id(user)
        return
    assert check_user_id(user) == user
    key = AccountKey("main", user, "USD")
    assert re.fullmatch(r"main/(?:[A-Za-z0-9._:@+-]|%[0-9A-F]{2})+/USD", key.name)
    assert AccountKey.parse(key.name) == key
    assert not key.is_system


@given(any_user.filter(_is_valid), any_user.filter(_is_valid))
def test_two_users_never_share_a_name(one: str, other: str) -> None:
    if one != other:
        assert AccountKey("main", one, "USD").name != AccountKey("main", other, "USD").name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "main/alice",
        "main/alice/USD/x",
        "main/a~b/USD",
        "main/a%7eb/USD",
        "main/%61lice/USD",
        "main/a b/USD",
        "main/%FF/USD",
        "main/%ED%A0%80/USD",
        "main/a%/USD",
    ],
)
def test_only_the_canonical_name_is_one(name: str) -> None:
    with pytest.raises(InvalidRequest):
        AccountKey.parse(name)


@pytest.mark.parametrize(
    "user",
    ["", "x" * 129, "me", ".", "..", "@house", "@x", "a\nb", "a\x7f", "\x85", "\x00", "\ud800"],
)
def test_refuses_what_cannot_be_a_user(user: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_user_id(user, "/to_user")
    assert refused.value.pointer == "/to_user"


@pytest.mark.parametrize("user", [7, None, b"alice", ["alice"]])
def test_a_user_id_is_a_string(user: object) -> None:
    with pytest.raises(InvalidRequest):
        check_user_id(user)


@pytest.mark.parametrize("user", ["x" * 128, "ME", "...", "a@b", "a/b", "a%2Fb", "zürich", " "])
def test_takes_what_can(user: str) -> None:
    assert check_user_id(user) == user


def test_system_owners_are_told_by_their_first_letter() -> None:
    house = AccountKey("main", "@house", "USD")
    assert house.is_system and not AccountKey("main", "a@house", "USD").is_system
    assert house.name == "main/@house/USD"
