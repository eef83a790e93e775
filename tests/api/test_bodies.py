"""Decoding bodies: which refusal, at which JSON pointer."""

from __future__ import annotations

import pytest
from tallywire.api.bodies import decode_body
from tallywire.ledger.errors import InvalidAmount, InvalidRequest, LedgerError
from tallywire.operations.accounts import AccountChange
from tallywire.operations.deposits import Deposit
from tallywire.operations.shared_charges import SharedCharge

GOOD = b'{"user_id":"alice","asset":"USDT","amount":"1"}'


def test_a_body_has_its_defaults() -> None:
    deposit = decode_body(GOOD, Deposit)
    assert (deposit.in_book, deposit.description, deposit.metadata) == ("main", None, None)
    assert decode_body(GOOD[:-1] + b',"book":null,"description":null}', Deposit) == deposit


def test_unknown_fields_are_ignored_and_the_last_of_a_duplicate_counts() -> None:
    body = b'{"x":[1],"user_id":"bob","user_id":"alice","asset":"USDT","amount":"1"}'
    assert decode_body(body, Deposit) == decode_body(GOOD, Deposit)


@pytest.mark.parametrize(
    ("body", "refusal", "pointer"),
    [
        (b'{"user_id":"a","asset":"USDT"}', InvalidRequest, "/amount"),
        (b'{"asset":"USDT","amount":"1"}', InvalidRequest, "/user_id"),
        (b'{"user_id":"a","asset":"USDT","amount":1}', InvalidAmount, "/amount"),
        (b'{"user_id":"a","asset":"USDT","amount":1.5}', InvalidAmount, "/amount"),
        (b'{"user_id":"a","asset":"USDT","amount":null}', InvalidAmount, "/amount"),
        (b'{"user_id":"a","asset":"USDT","amount":["1"]}', InvalidAmount, "/amount"),
        (b'{"user_id":7,"asset":"USDT","amount":"1"}', InvalidRequest, "/user_id"),
        (b'{"user_id":"a","asset":"X","amount":"1","metadata":[]}', InvalidRequest, "/metadata"),
        (
            b'{"user_id":"a","asset":"X","amount":"1","description":5}',
            InvalidRequest,
            "/description",
        ),
        (b"[]", InvalidRequest, ""),
        (b"5", InvalidRequest, ""),
    ],
)
def test_a_field_that_does_not_fit_is_named(
    body: bytes, refusal: type[LedgerError], pointer: str
) -> None:
    with pytest.raises(refusal) as refused:
        decode_body(body, Deposit)
    assert type(refused.value) is refusal
    assert refused.value.pointer == pointer


def test_a_field_inside_a_list_is_named_by_its_index() -> None:
    body = (
        b'{"book":"m","asset":"X","amount":"1",'
        b'"shares":[{"user_id":"a","weight":1},{"user_id":"b","weight":"1"}]}'
    )
    with pytest.raises(InvalidRequest) as refused:
        decode_body(body, SharedCharge)
    assert refused.value.pointer == "/shares/1/weight"


def test_a_missing_field_inside_a_list_is_named() -> None:
    body = b'{"book":"m","asset":"X","amount":"1","shares":[{"weight":1}]}'
    with pytest.raises(InvalidRequest) as refused:
        decode_body(body, SharedCharge)
    assert refused.value.pointer == "/shares/0/user_id"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"user_id":"\xff"}',
        b'{"user_id":"\\ud800","asset":"X","amount":"1"}',
        b'{"user_id":"a\\u0000","asset":"X","amount":"1"}',
        b'{"user_id":"a","asset":"X","amount":"1","metadata":{"a":"\\\\\\u0000"}}',
        b'{"user_id":"a\x00","asset":"X","amount":"1"}',
        b'{"deep":' + b"[" * 5000 + b"]" * 5000 + b"}",
        GOOD + b"x",
        b'{"user_id":NaN}',
    ],
)
def test_what_is_no_json_text_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode_body(body, Deposit)


def test_a_backslash_before_u0000_is_text() -> None:
    body = GOOD[:-1] + b',"description":"\\\\u0000"}'
    assert decode_body(body, Deposit).description == "\\u0000"


def test_absent_is_not_null() -> None:
    assert decode_body(b"{}", AccountChange).given() == {}
    assert decode_body(b'{"floor":null}', AccountChange).given() == {"floor": None}
    with pytest.raises(InvalidAmount) as refused:
        decode_body(b'{"floor":-5}', AccountChange)
    assert refused.value.pointer == "/floor"
