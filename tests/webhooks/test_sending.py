"""One attempt, as far as the network is concerned: who is believed, and by which way it goes."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from tallywire.ledger import UpdateFilter
from tallywire.webhooks.destinations import Destinations
from tallywire.webhooks.registrations import Registration
from tallywire.webhooks.sending import Outcome, Sender
from tallywire.webhooks.signing import Secret

from tests.ledger.conftest import ManualClock
from tests.services.receiver import Answer, Receiver

# For localhost, until the year 2126, signed by nobody but itself.
CERTIFICATE = """\
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEICEYB2ovVET29Iai4uRlgk19yk/+yHVAhzTTVFgQJq7boAoGCCqGSM49
AwEHoUQDQgAEbEOT5p2PCtK3uSoUhIFuJdxHwmED5OprULUnfvcrF4V+SHsWPDah
R7Od52IMvWDZealfyuqGewxRGfpehCcLPA==
-----END EC PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBmjCCAUGgAwIBAgIULO/Jt8JEYKynfQeugJTmOyJh4qIwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMTE2Mjk0MloYDzIxMjYxMDI4
MTYyOTQyWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARsQ5PmnY8K0re5KhSEgW4l3EfCYQPk6mtQtSd+9ysXhX5IexY8NqFH
s53nYgy9YNl5qV/K6oZ7DFEZ+l6EJws8o28wbTAdBgNVHQ4EFgQUNy63mVOb4Fv1
riRQcyS+MqrkwycwHwYDVR0jBBgwFoAUNy63mVOb4Fv1riRQcyS+MqrkwycwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDRwAwRAIgFDZI4KSMMYePlpjPNKgOro5SnUGkrhDkDp41lb6fPRgCIClb
ITQ9bNCaiLZmDFZ1UPSQIfVoXaro8h1IuUMS4bx3
-----END CERTIFICATE-----
"""


async def post(url: str, times: int = 1) -> Outcome:
    """The outcome of the last of several posts by one sender."""
    row = Registration(
        name="shop",
        url=url,
        filter=UpdateFilter(),
        secret=Secret("a secret of sixteen characters"),
        status="active",
        generation="1",
        position=0,
        examined=0,
    )
    async with Sender(Destinations(["localhost"]), ManualClock(), connections=1) as sender:
        for _ in range(times):
            outcome = await sender.post(row, "id-1", b"{}")
    return outcome


async def test_a_certificate_that_nobody_vouches_for_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "both.pem").write_text(CERTIFICATE)
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    own.load_cert_chain(tmp_path / "both.pem")
    async with Receiver(tls=own) as receiver:
        outcome = await post(f"https://localhost:{receiver.port}/hook")
    assert "CERTIFICATE_VERIFY_FAILED" in outcome.error
    assert receiver.received == []


async def test_a_proxy_of_the_environment_is_not_asked(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert await post(f"http://localhost:{receiver.port}/hook") == Outcome()
    assert len(receiver.received) == 1


async def test_an_answer_too_many_is_not_taken_for_the_next_one(receiver: Receiver) -> None:
    surplus = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    receiver.answers += [Answer(500, surplus=surplus), Answer(500)]
    url = f"http://localhost:{receiver.port}/hook"
    assert await post(url, times=2) == Outcome("answered 500")
    assert len(receiver.received) == 2


async def test_what_an_answer_sets_is_not_kept(receiver: Receiver) -> None:
    receiver.answers.append(Answer(cookie="session=1"))
    url = f"http://localhost:{receiver.port}/hook?key=of-the-url"
    assert await post(url, times=2) == Outcome()
    assert ["cookie" in each.headers for each in receiver.received] == [False, False]
    assert receiver.received[0].path == "/hook?key=of-the-url"


@pytest.mark.parametrize(
    "url", ["http://localhost:1/hook", "http://localhost:1/hook?key=of-the-url"]
)
async def test_nobody_there_is_a_failure_in_a_line_without_the_url(url: str) -> None:
    outcome = await post(url)
    assert outcome.error.startswith("cannot connect: ") and "\n" not in outcome.error
    assert "key" not in outcome.error
