"""Pages, files, signs of life, and the description of the interface."""

from __future__ import annotations

import re

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from tallywire.api.openapi import document
from tallywire.api.routes import ROUTES
from tallywire.ledger.database import DatabaseUnavailable

from .conftest import Edge


@pytest.mark.parametrize("path", ["/", "/docs", "/static/docs.js", "/static/style.css"])
async def test_pages_run_nothing_that_is_not_ours(edge: Edge, path: str) -> None:
    answer = await edge.http.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_every_link_of_a_page_leads_somewhere(edge: Edge, path: str) -> None:
    page = (await edge.http.get(path)).text
    links = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert links
    for link in links:
        assert link.startswith("/")
        assert (await edge.http.get(link.replace("&amp;", "&"))).status_code == 200, link


async def test_a_page_that_the_browser_has_is_not_sent_again(edge: Edge) -> None:
    etag = (await edge.http.get("/docs")).headers["etag"]
    again = await edge.http.get("/docs", headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")


async def test_signs_of_life(edge: Edge) -> None:
    assert (await edge.http.get("/healthz")).json() == {"status": "ok"}
    await edge.fund("alice")
    ready = await edge.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert ready.json()["checks"]["feed"] == {"position": 0, "behind": 1}
    assert ready.json()["checks"]["queue"] == {"changes": 0}


async def test_without_the_bus_it_is_degraded(edge: Edge) -> None:
    edge.wire.is_up = False
    answer = await edge.http.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["checks"]["bus"] == "down"


async def test_without_the_database_it_is_unavailable(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(edge.services.manager.reader, "head", away)
    answer = await edge.http.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
    assert answer.json()["checks"]["database"] == "down"
    refused = await edge.get("/v1/admin/transactions")
    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert refused.headers["retry-after"]


async def test_metrics_are_named_as_the_contract_says(edge: Edge) -> None:
    text = (await edge.http.get("/metrics")).text
    for name in (
        "commits_total",
        "changes_total",
        "commit_seconds",
        "commit_batch_changes",
        "queue_changes",
        "head_position",
        "feed_position",
        "feed_gaps_total",
        "feed_source_total",
        "bus_up",
        "connections",
        "sent_total",
        "sent_bytes_total",
        "commit_to_send_seconds",
        "catching_up_connections",
        "resumes_total",
        "closes_total",
        "verify_discrepancies",
        "verify_finished_timestamp_seconds",
        "verify_failed",
    ):
        assert f"# TYPE tallywire_{name} " in text


async def test_the_description_is_valid_openapi_and_complete(edge: Edge) -> None:
    described = (await edge.http.get("/openapi.json")).json()
    OpenAPIV31SpecValidator(described).validate()
    served = {
        (method.upper(), path) for path, item in described["paths"].items() for method in item
    }
    assert served == {(r.method, r.path) for r in ROUTES if not r.development}


def test_the_description_names_every_operation_once_and_says_what_it_does() -> None:
    described = document(ROUTES, "1")
    operations = [each for item in described["paths"].values() for each in item.values()]
    ids = [each["operationId"] for each in operations]
    assert len(set(ids)) == len(ids)
    assert all(each["summary"] for each in operations)
    deposit = described["paths"]["/v1/deposits"]["post"]
    assert deposit["security"] == [{"bearer": []}]
    assert deposit["description"] == "For: admin."
    assert deposit["requestBody"]["required"]
    assert not described["paths"]["/v1/holds/{id}/void"]["post"]["requestBody"]["required"]
    schema = described["components"]["schemas"]["Deposit"]
    assert set(schema["required"]) == {"user_id", "asset", "amount"}
    history = described["paths"]["/v1/users/{user}/history"]["get"]
    assert {"user", "from", "to", "limit", "cursor"} <= {p["name"] for p in history["parameters"]}
