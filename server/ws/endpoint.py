"""The WebSocket `/ws`: the upgrade, and the socket's two ends on a connection of the hub."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.websockets import WebSocket, WebSocketDisconnect

from .. import logs
from ..ledger.errors import LedgerError, NotAuthenticated
from . import closes
from .closes import Close
from .connection import Connection
from .frames import Frame
from .hub import Hub
from .origins import is_allowed_origin

if TYPE_CHECKING:
    from ..api.services import Services
    from ..auth import Principal

SUBPROTOCOL = "tallywire.v1"
REDEEM_WITHIN = 10.0

_log = logs.get_logger(__name__)


class WebSocketTransport:
    """Sends frames as text messages through ASGI."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    async def send(self, frames: Sequence[Frame]) -> None:
        """Send each; the server under us waits while its buffer is full."""
        for frame in frames:
            await self._websocket.send({"type": "websocket.send", "text": frame.data.decode()})

    async def close(self, why: Close) -> None:
        """Send the close frame."""
        await self._websocket.close(why.code, why.reason)


async def websocket_endpoint(websocket: WebSocket) -> None:
    """
    Serve one WebSocket with `websocket.app.state.services`.

    A page of a foreign origin is refused with HTTP 403 before the upgrade. A token or ticket
    that came with the upgrade and is not valid closes 4001 after it, in answer to `connect`,
    since a browser shows no other reason to its page.
    """
    services: Services = websocket.app.state.services
    headers = websocket.headers
    if not is_allowed_origin(
        headers.get("origin"), headers.get("host", ""), services.settings.origins
    ):
        await websocket.close(closes.NOT_ALLOWED.code)
        return
    offered = SUBPROTOCOL in websocket.scope.get("subprotocols", ())
    try:
        await websocket.accept(SUBPROTOCOL if offered else None)
        principal, refused = await _principal(websocket, services)
        await _serve(websocket, services, principal, refused)
    except WebSocketDisconnect:
        pass


async def _serve(
    websocket: WebSocket,
    services: Services,
    principal: Principal | None,
    refused: Close | None,
) -> None:
    hub: Hub = websocket.app.state.services.hub
    connection = hub.open(
        WebSocketTransport(websocket),
        services.authenticate,
        principal=principal,
        refused=refused,
    )
    receiving = asyncio.create_task(_receive(websocket, hub, connection))
    try:
        await connection.run()
    finally:
        receiving.cancel()
        hub.leave(connection)


async def _receive(websocket: WebSocket, hub: Hub, connection: Connection) -> None:
    while True:
        message = await websocket.receive()
        if message["type"] != "websocket.receive":
            connection.peer_left()
            return
        if message.get("text") is not None:
            hub.receive_text(connection, message["text"])
        else:
            hub.receive_binary(connection)


async def _principal(
    websocket: WebSocket, services: Services
) -> tuple[Principal | None, Close | None]:
    """Who the upgrade request proves to be, or why it is refused; neither where it says nothing."""
    authorization = websocket.headers.get("authorization")
    ticket = websocket.query_params.get("ticket")
    try:
        if ticket is not None:
            async with asyncio.timeout(REDEEM_WITHIN):
                return await services.redeem(ticket), None
        if authorization is not None:
            scheme, _, token = authorization.partition(" ")
            if scheme.lower() != "bearer":
                raise NotAuthenticated
            return services.authenticate(token.strip()), None
    except NotAuthenticated as problem:
        return None, closes.NOT_AUTHENTICATED.because(problem.detail)
    except (LedgerError, TimeoutError) as problem:
        _log.warning("a ticket cannot be redeemed", reason=repr(problem))
        return None, closes.TRY_LATER
    return None, None
