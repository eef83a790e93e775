"""Verifications as jobs: begun, followed, and what they found."""

from __future__ import annotations

import msgspec
from msgspec.structs import asdict
from starlette.responses import Response

from .. import metrics
from ..ledger.clock import parse_rfc3339
from ..ledger.errors import InvalidCursor, NotFound
from ..ledger.proof.records import KINDS
from ..ledger.proof.runs import Asked
from ..operations import policy
from .answers import answer, listing
from .bodies import VerificationRequest
from .calls import Call
from .queries import DiscrepanciesQuery, Page, continue_page, filters_of, write_cursor
from .services import Services


async def start_verification(call: Call, request: VerificationRequest) -> Response:
    """Begin a verification; it goes on by itself."""
    manager, actor = call.services.manager, call.principal.user_id
    user_id = None if request.user_id is None else policy.named(call.principal, request.user_id)
    asked = Asked(
        fix=request.fix,
        user_id=user_id,
        book=request.book,
        logged_seals=request.logged_seals,
        actor=actor,
    )
    id_ = await manager.proof.start(asked)
    await manager.administration.record(
        actor, "verification", id_, {**asdict(request), "user_id": user_id}
    )
    headers = {"Location": f"/v1/admin/verifications/{id_}"}
    return answer({"id": id_}, 202, headers)


async def read_verification(call: Call) -> Response:
    """How far a verification has come, and what it found."""
    verification = await call.services.manager.proof.verifications.get(call.path["id"])
    if verification is None:
        raise NotFound("there is no such verification")
    return answer(verification)


async def list_verifications(call: Call, query: Page) -> Response:
    """Every verification, newest first, without what each found in detail."""
    query, before = continue_page("verifications", query)
    rows = await call.services.manager.proof.verifications.listed(before, query.limit + 1)
    page = rows[: query.limit]
    more = len(rows) > query.limit
    return listing(
        [msgspec.json.encode(row.brief()) for row in page],
        write_cursor("verifications", {}, page[-1].number) if more else None,
    )


async def list_discrepancies(call: Call, query: DiscrepanciesQuery) -> Response:
    """What is wrong as far as verifications know, the largest first."""
    query, passed = continue_page("discrepancies", query)
    verifications = call.services.manager.proof.verifications
    if query.verification is None:
        newest = await verifications.newest_done()
    else:
        newest = await verifications.get(query.verification)
    if newest is None or newest.report is None:
        if query.verification is not None:
            raise InvalidCursor("there is no such finished verification")
        return listing([], None)
    query.verification = newest.id
    found = await call.services.manager.proof.discrepancies(newest)
    end = (passed or 0) + query.limit
    return listing(
        [msgspec.json.encode(each) for each in found[passed or 0 : end]],
        write_cursor("discrepancies", filters_of(query), end) if end < len(found) else None,
    )


async def measure_verifications(services: Services) -> None:
    """Show on /metrics how verifications stand by their record; raises LedgerError."""
    for kind in KINDS:
        standing = await services.manager.proof.verifications.standing(kind)
        metrics.VERIFY_FAILED.labels(kind).set(standing.failed)
        if standing.finished_at is not None:
            finished = parse_rfc3339(standing.finished_at).timestamp()
            metrics.VERIFY_FINISHED.labels(kind).set(finished)
        if kind == "verify":
            metrics.VERIFY_DISCREPANCIES.set(standing.errors)
