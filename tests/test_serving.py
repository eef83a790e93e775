"""What a signal does to a server, and what it says where it cannot listen."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tallywire.serving import CannotListen, listen

from .services.processes import die_with_parent, stop_process

PROGRAM = """
import contextlib, sys
from starlette.applications import Starlette
from tallywire.serving import listen, serve

def say(word):
    print(word, flush=True)

@contextlib.asynccontextmanager
async def lifespan(app):
    say("open")
    if "broken" in sys.argv:
        raise RuntimeError("no database")
    yield
    say("closed")

async def drain():
    say("drained")

serve(
    Starlette(lifespan=lifespan),
    listen("127.0.0.1", 0),
    started=lambda: say("started"),
    drain=drain,
)
say("over")
"""


def _spawn(tmp_path: Path, *arguments: str) -> subprocess.Popen[bytes]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    return subprocess.Popen(
        die_with_parent([sys.executable, str(program), *arguments], signal.SIGKILL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )


@pytest.fixture
def started(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = _spawn(tmp_path)
    assert process.stdout is not None
    with process:
        assert [process.stdout.readline() for _ in range(2)] == [b"open\n", b"started\n"]
        yield process
        stop_process(process, signal.SIGKILL, seconds=5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_in_order(
    number: signal.Signals, started: subprocess.Popen[bytes]
) -> None:
    started.send_signal(number)
    output, errors = started.communicate(timeout=20)
    assert (output.split(), errors) == ([b"drained", b"closed", b"over"], b"")
    assert started.returncode == 0


def test_what_the_lifespan_raises_at_the_start_is_raised(tmp_path: Path) -> None:
    with _spawn(tmp_path, "broken") as process:
        output, errors = process.communicate(timeout=20)
    assert output == b"open\n"
    assert errors.splitlines()[-1] == b"RuntimeError: no database"


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(CannotListen, match=rf"port {port} on 127\.0\.0\.1 is taken"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a" * 70 + ".invalid"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(CannotListen, match="cannot listen on"):
        listen(host, 0)


def test_ipv6_is_written_with_or_without_brackets() -> None:
    for host in ("::1", "[::1]"):
        with listen(host, 0) as listener:
            assert listener.getsockname()[0] == "::1"


def test_a_connection_whose_peer_takes_nothing_is_over_after_a_minute() -> None:
    with listen("127.0.0.1", 0) as listener:
        listener.listen()
        with (
            socket.create_connection(listener.getsockname()),
            listener.accept()[0] as connection,
        ):
            within = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert within == 60_000
