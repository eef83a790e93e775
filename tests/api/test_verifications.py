"""Verifications as jobs over HTTP: progress, reports, discrepancies by size, one fix at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from tallywire.api import schemas
from tallywire.ledger import DatabaseUnavailable, open_ledger
from tallywire.ledger.proof.records import ALIVE, Moment, Verification
from tallywire.ledger.proof.runs import Asked

from ..ledger.raw import execute
from ..logged import logged
from .conftest import Edge


async def finished(edge: Edge, id_: str) -> dict[str, Any]:
    """The verification `id_`, once it no longer runs."""
    async with asyncio.timeout(10):
        while True:
            answer = await edge.get(f"/v1/admin/verifications/{id_}", by="eve:auditor")
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
            msgspec.convert(found, Verification)
            if found["status"] != "running":
                return found
            await asyncio.sleep(0.01)


async def begun(edge: Edge, **body: Any) -> str:
    answer = await edge.post("/v1/admin/verifications", body)
    assert answer.status_code == 202, answer.text
    id_: str = answer.json()["id"]
    assert answer.headers["location"] == f"/v1/admin/verifications/{id_}"
    return id_


async def test_a_verification_is_begun_and_followed(edge: Edge) -> None:
    await edge.fund("alice", "5")
    id_ = await begun(edge)
    done = await finished(edge, id_)
    assert (done["status"], done["checked"], done["total"]) == ("done", 3, 3)
    assert done["report"] == {"checked": 3, "synced": 0, "fixed": 0, "errors": 0, "details": []}
    (audit,) = (await edge.get("/v1/admin/audit")).json()["items"]
    assert (audit["action"], audit["actor"], audit["target"]) == ("verification", "root", id_)


async def test_me_is_who_asks(edge: Edge) -> None:
    await edge.fund("root")
    done = await finished(edge, await begun(edge, user_id="me"))
    assert done["user_id"] == "root"
    (audit,) = (await edge.get("/v1/admin/audit")).json()["items"]
    assert audit["details"]["user_id"] == "root"


async def test_what_is_found_is_listed_by_size_until_it_is_fixed(
    edge: Edge, sqlite_url: str
) -> None:
    for user, drift in (("alice", 5), ("bob", -700), ("carol", 60)):
        await edge.fund(user, "5")
        await execute(
            sqlite_url, f"UPDATE accounts SET balance = balance + {drift} WHERE owner = '{user}'"
        )
    found = await finished(edge, await begun(edge))
    assert found["report"]["errors"] == 4
    items, cursor = [], ""
    while True:
        page = (await edge.get(f"/v1/admin/discrepancies?limit=2{cursor}", by="a:auditor")).json()
        msgspec.convert(page, schemas.Discrepancies)
        items += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    sizes = [each["difference"] for each in items]
    assert sizes == ["-0.000700", "-0.000635", "0.000060", "0.000005"]
    assert {"invariant", "account", "position", "stored", "actual"} < items[0].keys()
    fixed = await finished(edge, await begun(edge, fix=True))
    assert (fixed["report"]["fixed"], fixed["report"]["errors"]) == (3, 0)
    assert (await edge.get("/v1/admin/discrepancies")).json()["items"] == []
    listed = (await edge.get("/v1/admin/verifications?limit=1")).json()
    msgspec.convert(listed, schemas.Verifications)
    assert [each["id"] for each in listed["items"]] == [fixed["id"]]
    assert listed["next_cursor"] is not None


async def test_only_one_fixes_at_a_time(edge: Edge) -> None:
    await edge.fund("alice")
    await edge.services.manager.leases.take("fixing verification", "another", 60)
    answer = await edge.post("/v1/admin/verifications", {"fix": True})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert (await finished(edge, await begun(edge)))["status"] == "done"


async def test_one_whose_process_has_gone_has_failed(edge: Edge) -> None:
    verifications = edge.services.manager.proof.verifications
    id_ = verifications.new_id()
    await verifications.begin(id_, "root", fix=False, user_id=None, book=None)
    path = f"/v1/admin/verifications/{id_}"
    assert (await edge.get(path)).json()["status"] == "running"
    edge.clock.forward(ALIVE + 1)
    gone = (await edge.get(path)).json()
    assert (gone["status"], gone["error"]) == ("failed", "the process that ran it has gone")


def measured(text: str, name: str) -> float | None:
    """The value of one line of /metrics."""
    values = [line.split()[-1] for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(values[0]) if values else None


async def test_metrics_tell_how_verifications_of_any_process_stand(
    edge: Edge, sqlite_url: str
) -> None:
    kind = '{kind="verify"}'

    async def scraped() -> tuple[float | None, ...]:
        text = (await edge.http.get("/metrics")).text
        return (
            measured(text, "tallywire_verify_discrepancies"),
            measured(text, f"tallywire_verify_finished_timestamp_seconds{kind}"),
            measured(text, f"tallywire_verify_failed{kind}"),
        )

    for user in ("alice", "bob"):
        await edge.fund(user, "5")
    await execute(sqlite_url, "UPDATE accounts SET status = 'frozen' WHERE owner = 'alice'")
    finished = edge.clock.now().timestamp()
    async with open_ledger(sqlite_url, clock=edge.clock) as elsewhere:
        await elsewhere.verify()
        assert await scraped() == (1, finished, 0)
        edge.clock.forward(60)
        # What looks at a part, or leaves the journal out, does not say that all is well.
        await elsewhere.verify(user_id="bob")
        await elsewhere.verify(fix=True, user_id="alice")
        await elsewhere.rebuild()
        assert await scraped() == (1, finished, 0)
        for _ in range(2):
            begun = elsewhere.proof.verifications
            await begun.begin(begun.new_id(), "x", fix=False, user_id=None, book=None)
        edge.clock.forward(ALIVE + 1)
        assert await scraped() == (1, finished, 2)
        await elsewhere.verify()
        assert await scraped() == (0, edge.clock.now().timestamp(), 0)


async def test_metrics_are_shown_while_the_database_is_away(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(kind: str) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(edge.services.manager.proof.verifications, "standing", away)
    with logged() as lines:
        answer = await edge.http.get("/metrics")
    assert answer.status_code == 200
    assert "tallywire_commits_total" in answer.text
    assert [each["event"] for each in lines] == ["what the database has for /metrics is not read"]


async def test_what_a_schedule_asked_for_is_told(edge: Edge) -> None:
    await edge.fund("alice")
    asked = Asked(
        fix=True,
        accounts_only=True,
        actor="schedule",
        moment=Moment("2031-05-01T03:00:00.000000Z", 2),
    )
    await edge.services.manager.proof.verify(asked)
    (listed,) = (await edge.get("/v1/admin/verifications", by="eve:auditor")).json()["items"]
    assert listed == (await edge.get(f"/v1/admin/verifications/{listed['id']}")).json()
    assert (listed["kind"], listed["requested_by"]) == ("rebuild", "schedule")
    assert (listed["due_at"], listed["attempt"]) == ("2031-05-01T03:00:00.000000Z", 2)
    await begun(edge)
    asked_for = (await edge.get("/v1/admin/verifications")).json()["items"][0]
    assert (asked_for["kind"], asked_for["due_at"], asked_for["attempt"]) == ("verify", None, None)


async def test_what_cannot_be_verified_is_refused(edge: Edge) -> None:
    await edge.fund("alice")
    for body, status, code in (
        ({"user_id": "nobody"}, 422, "unknown_user"),
        ({"book": "nowhere"}, 422, "unknown_book"),
        ({"logged_seals": ["1"]}, 400, "invalid_request"),
        ({"fix": "yes"}, 400, "invalid_request"),
    ):
        answer = await edge.post("/v1/admin/verifications", body)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (await edge.get("/v1/admin/verifications/x")).status_code == 404
