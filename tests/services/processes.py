"""Child processes of the tests: free ports, and ends that come even if the test run is killed."""

from __future__ import annotations

import pwd
import shutil
import signal
import socket
import subprocess
from typing import Protocol


def free_port() -> int:
    """A loopback TCP port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def die_with_parent(
    command: list[str], death_signal: signal.Signals, *, user: str | None = None
) -> list[str]:
    """
    `command`, run as `user` if given, and sent `death_signal` when the test process dies.

    The kernel does it (prctl(2), PR_SET_PDEATHSIG) at the request of util-linux's setpriv.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise RuntimeError("setpriv is missing; Debian has it in the package util-linux")
    arguments = [setpriv, "--pdeathsig", death_signal.name.removeprefix("SIG")]
    if user is not None:
        account = pwd.getpwnam(user)
        arguments += [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    return [*arguments, "--", *command]


class Process(Protocol):
    """What subprocess.Popen and Fork have in common."""

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


def stop_process(process: Process, first: signal.Signals, *, seconds: float) -> int:
    """
    Send `first`, wait up to `seconds`, then SIGKILL; the result is the exit code.

    Nothing is sent to a process that has ended already.
    """
    if process.poll() is None:
        process.send_signal(first)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
