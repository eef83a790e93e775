"""Verifications as jobs over HTTP: progress, reports, discrepancies by size, one fix at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from tallywire.api import schemas
from tallywire.ledger.proof.records import ALIVE, Verification

from ..ledger.raw import execute
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
    id_ = await verifications.begin("root", fix=False, user_id=None, book=None)
    path = f"/v1/admin/verifications/{id_}"
    assert (await edge.get(path)).json()["status"] == "running"
    edge.clock.forward(ALIVE + 1)
    gone = (await edge.get(path)).json()
    assert (gone["status"], gone["error"]) == ("failed", "the process that ran it has gone")


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
