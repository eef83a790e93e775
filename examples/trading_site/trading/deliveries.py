"""Where Tallywire's webhook delivers: each message is verified, kept, and then acknowledged."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from .ledger import Ledger
from .notices import Notices
from .people import Session
from .signature import NotGenuine, new_secret, verify

_PATH = "/tallywire"


def receiver(secret: str, notices: Notices) -> Starlette:
    """The application that takes deliveries signed with `secret`."""

    async def deliver(request: Request) -> Response:
        body = await request.body()
        try:
            verify(secret, request.headers, body, time.time())
        except NotGenuine as error:
            return PlainTextResponse(str(error), 401)
        await notices.take(json.loads(body))
        return Response(status_code=204)

    return Starlette(routes=[Route(_PATH, deliver, methods=["POST"])])


@asynccontextmanager
async def delivered(
    ledger: Ledger, session: Session, name: str, notices: Notices
) -> AsyncIterator[None]:
    """
    Have all that is committed meanwhile told to `notices`, on a port of this machine.

    session: a superadmin's; name: of the webhook, which is removed at the end. Raises Refused, also
    where Tallywire's operator has not allowed this machine (TALLYWIRE_WEBHOOK_HOSTS).
    """
    secret = new_secret()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(receiver(secret, notices), log_config=None, lifespan="off")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        path = f"/v1/admin/webhooks/{name}"
        url = f"http://127.0.0.1:{listening.getsockname()[1]}{_PATH}"
        try:
            await ledger.administer(session, "PUT", path, {"url": url, "secret": secret})
            try:
                yield
            finally:
                await ledger.administer(session, "DELETE", path)
        finally:
            server.should_exit = True
            await serving
