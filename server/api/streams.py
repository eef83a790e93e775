"""`/v1/stream`: live messages for those who have no WebSocket."""

from __future__ import annotations

from starlette.responses import Response

from .calls import Call
from .queries import StreamQuery


async def open_stream(call: Call, query: StreamQuery) -> Response:
    """
    The WebSocket's messages as server-sent events: `event` is the type, `data` the JSON.

    Raises the LedgerError that refuses it, as long as nothing was sent.
    """
    return await call.services.open_stream(
        call.principal,
        streams=query.streams,
        mode=query.mode,
        resume=call.request.headers.get("last-event-id") or query.resume,
        filter=query.filter,
    )
