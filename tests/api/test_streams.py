"""`/v1/stream` up to its first byte: who may, by token or ticket, and what is asked for."""

from __future__ import annotations

import pytest
from tallywire.settings import Settings

from .conftest import SECRET, Edge

PAGE = {"Origin": "https://shop.example"}


@pytest.fixture
def settings() -> Settings:
    return Settings(secrets=(SECRET,), origins=("https://shop.example",))


async def ticket_of(edge: Edge, caller: str) -> str:
    answer = await edge.call("POST", "/v1/stream-tickets", by=caller)
    return str(answer.json()["ticket"])


async def test_what_the_address_says_is_handed_over(edge: Edge) -> None:
    query = "streams=balances,monitor&mode=latest&resume=e:7&filter.asset=USDT&filter.book=main"
    asked = (await edge.get(f"/v1/stream?{query}", by="eve:auditor")).json()
    assert asked == {
        "user_id": "eve",
        "streams": "balances,monitor",
        "mode": "latest",
        "resume": "e:7",
        "filter": {"asset": "USDT", "book": "main"},
    }
    plain = (await edge.get("/v1/stream", by="alice")).json()
    assert plain == {
        "user_id": "alice",
        "streams": None,
        "mode": None,
        "resume": None,
        "filter": {},
    }


@pytest.mark.parametrize(("last", "resume"), [("e:9", "e:9"), ("", "e:7")])
async def test_last_event_id_wins_where_there_is_one(edge: Edge, last: str, resume: str) -> None:
    headers = {"Last-Event-ID": last}
    answer = await edge.get("/v1/stream?resume=e:7", by="alice", headers=headers)
    assert answer.json()["resume"] == resume


async def test_a_ticket_does_for_a_token_once_and_here_only(edge: Edge) -> None:
    ticket = await ticket_of(edge, "alice")
    assert (await edge.http.get(f"/v1/assets?ticket={ticket}")).status_code == 401
    assert (await edge.http.get(f"/v1/stream?ticket={ticket}")).json()["user_id"] == "alice"
    again = await edge.get(f"/v1/stream?ticket={ticket}", by="alice")
    assert (again.status_code, again.json()["code"]) == (401, "not_authenticated")
    other = await ticket_of(edge, "bob")
    assert (await edge.get(f"/v1/stream?ticket={other}", by="alice")).json()["user_id"] == "bob"
    late = await ticket_of(edge, "bob")
    edge.clock.forward(61)
    assert (await edge.http.get(f"/v1/stream?ticket={late}")).status_code == 401


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
async def test_a_stream_is_only_to_be_got(edge: Edge, method: str) -> None:
    answer = await edge.call(method, "/v1/stream", by="alice")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


async def test_pages_of_named_origins_may_read_it(edge: Edge) -> None:
    answer = await edge.get("/v1/stream", by="alice", headers=PAGE)
    assert answer.headers["access-control-allow-origin"] == PAGE["Origin"]
    other = await edge.get("/v1/stream", by="alice", headers={"Origin": "https://other.example"})
    assert "access-control-allow-origin" not in other.headers
