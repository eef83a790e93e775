"""Signatures are those of Standard Webhooks, as its reference library verifies them."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook
from tallywire.ledger.errors import InvalidRequest
from tallywire.webhooks.signing import Secret, headers

MOMENT = datetime(2021, 2, 25, 8, 31, 30, 999_999, tzinfo=UTC)


def test_a_known_key_gives_a_known_signature() -> None:
    """The numbers are of a computation by hand, with OpenSSL."""
    secret = Secret("whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode())
    assert headers(secret, "msg_1", MOMENT, b'{"test": 2432232314}') == {
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": "1614241890",
        "Webhook-Signature": "v1,C5wSbP4mQttIgid1CzEsmkHIHY27+h9tkUmKfaKMNfw=",
    }


@given(key=st.binary(min_size=16, max_size=64), body=st.text(max_size=200))
def test_the_reference_library_verifies_it(key: bytes, body: str) -> None:
    text = "whsec_" + base64.b64encode(key).decode()
    now = datetime.now(UTC)
    signed = headers(Secret(text), "id-1", now, body.encode())
    Webhook(text).verify(body, signed, json_parse=False)
    assert Webhook(text).sign("id-1", now, body) == signed["Webhook-Signature"]


def test_any_other_text_is_its_own_key() -> None:
    text = "correct horse battery στάπλε"
    signed = headers(Secret(text), "id-1", datetime.now(UTC), b"{}")
    Webhook(text.encode()).verify("{}", signed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x" * 15,
        "x" * 256,
        "\ud800" * 20,
        "whsec_",
        "whsec_" + "x" * 5,
        "whsec_" + base64.b64encode(b"x" * 15).decode(),
        "whsec_" + base64.b64encode(b"x" * 65).decode(),
        "whsec_this is not base64, is it",
        "whsec_" + base64.b64encode(b"\xff" * 24).decode().replace("/", "_"),
    ],
)
def test_what_cannot_be_a_secret_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Secret(text)
    assert refused.value.pointer == "/secret"
    assert len(text) < 7 or text[6:] not in str(refused.value)


def test_a_secret_shows_itself_to_nobody() -> None:
    secret = Secret.generated(lambda size: b"\x07" * size)
    assert secret.text == "whsec_" + base64.b64encode(b"\x07" * 32).decode()
    for shown in (str(secret), repr(secret), f"{[secret]}"):
        assert secret.text[6:] not in shown
