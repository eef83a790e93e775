"""One process that serves: uvicorn on a socket of our own, drained before its connections close."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator

import uvicorn
import uvloop
from starlette.applications import Starlette

from .settings import bare_host
from .supervising import end_with_supervisor
from .ws.protocol import Limits

# How long open requests may go on after a signal, in seconds.
_GRACE = 10
# How long a peer may take nothing of what is sent to it, or be gone without a word, in seconds.
_TAKING_NOTHING = 60
# How long an idle connection stays open, in seconds: longer than clients and load balancers keep
# theirs (60), so that no request is sent into a connection that the server is closing.
_KEEP_ALIVE = 75


class CannotListen(Exception):
    """The address cannot be listened on; the message is one line for the operator."""


def listen(host: str, port: int) -> socket.socket:
    """
    A bound TCP socket: a taken port is found before anything else is started.

    port: 0 = any free one. Raises CannotListen.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            bare_host(host), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise CannotListen(f"cannot listen on {host}: {error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform == "linux":
            # Taken over by each connection. Nobody else ends one whose peer takes nothing.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * _TAKING_NOTHING)
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise CannotListen(
                f"port {port} on {host} is taken; choose another with --port or PORT"
            ) from error
        raise CannotListen(f"cannot listen on {host}, port {port}: {error.strerror}") from error
    return listener


def serve(
    app: Starlette,
    listener: socket.socket,
    *,
    started: Callable[[], None],
    drain: Callable[[], Awaitable[None]],
    supervised: bool = False,
) -> None:
    """
    Run `app` with its lifespan until SIGTERM or SIGINT, then drain.

    started: called once connections are taken. drain: awaited once no new ones are, before
    uvicorn closes the open ones. supervised: drain too when the supervisor is gone. What the
    lifespan raises at the start is raised here.
    """
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=Limits().message_bytes,
        ws_per_message_deflate=False,
        # The lifespan is entered here: uvicorn would turn its errors into a traceback.
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        workers=1,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
    )
    server = _Server(config, started, drain)

    async def run() -> None:
        if supervised:
            end_with_supervisor(
                asyncio.get_running_loop(), lambda: server.handle_exit(signal.SIGTERM, None)
            )
        async with app.router.lifespan_context(app):
            await server.serve([listener])

    with _signals_to(server), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


class _Server(uvicorn.Server):
    def __init__(
        self,
        config: uvicorn.Config,
        started: Callable[[], None],
        drain: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(config)
        self._announce = started
        self._drain = drain

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            gc.freeze()
            self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in self.servers:
            listener.close()
        await self._drain()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn would raise the signal again at the end, and a drained process is not a failure.
        yield


@contextlib.contextmanager
def _signals_to(server: uvicorn.Server) -> Iterator[None]:
    before = {
        number: signal.signal(number, server.handle_exit)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
