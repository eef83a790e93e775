"""Pages and files for people, and the signs of life for machines."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from .. import logs
from ..ledger.errors import LedgerError
from .answers import answer
from .calls import Call
from .prices import measure_market
from .verifications import measure_verifications
from .webhooks import measure_webhooks

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_DATABASE_SECONDS = 2.0
_log = logs.get_logger(__name__)


async def index(call: Call) -> Response:
    """The page that links to the others."""
    return await _file(call, "index.html")


async def docs(call: Call) -> Response:
    """The page that shows /openapi.json."""
    return await _file(call, "docs.html")


async def static_file(call: Call) -> Response:
    """A file of the pages, perhaps in a folder; raises HTTPException 404."""
    return await _file(call, "/".join(call.path.values()))


async def healthz(call: Call) -> Response:
    """This process runs."""
    return answer({"status": "ok"})


async def readyz(call: Call) -> Response:
    """Whether this process can serve: without the bus degraded, without the database not."""
    services = call.services
    # Asked once: it may change while the database is.
    bus_is_up = services.bus.is_up
    checks: dict[str, Any] = {
        "bus": "up" if bus_is_up else "down",
        "feed": {"position": services.feed.position},
        "queue": {"changes": services.manager.waiting},
    }
    try:
        async with asyncio.timeout(_DATABASE_SECONDS):
            head = await services.manager.reader.head()
    except (LedgerError, OSError):
        checks["database"] = "down"
        return answer({"status": "unavailable", "checks": checks}, 503, {"Retry-After": "1"})
    checks["database"] = "up"
    checks["feed"]["behind"] = max(0, head.position - services.feed.position)
    status = "ready" if bus_is_up else "degraded"
    return answer({"status": status, "checks": checks})


async def show_metrics(call: Call) -> Response:
    """The metrics of this process, and of what all share by its record, for Prometheus."""
    try:
        async with asyncio.timeout(_DATABASE_SECONDS):
            await measure_verifications(call.services)
            await measure_webhooks(call.services)
            await measure_market(call.services)
    except (LedgerError, OSError) as error:
        # The last ones known stand: whether the newest is too old is for the alert to say.
        _log.warning("what the database has for /metrics is not read", reason=str(error))
    return Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _file(call: Call, name: str) -> Response:
    response = await _static().get_response(name, call.request.scope)
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-cache"
    return response


@cache
def _static() -> StaticFiles:
    package = Path(__file__).parents[1]
    # Installed, the files lie inside the package; in a source tree, beside it.
    folders = [folder / "static" for folder in (package, package.parent)]
    return StaticFiles(directory=next(folder for folder in folders if folder.is_dir()))
