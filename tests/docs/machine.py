"""
The machine of docs/deployment.md: real programs, with folders and ports of their own.

systemd's part is played here, as far as the page speaks of it: `systemctl` starts what the page's
units say with the environment file that they name, and stops it by SIGTERM within their time.
"""

from __future__ import annotations

import asyncio
import configparser
import os
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any, Self

from ..services.debian import find_program
from ..services.processes import die_with_parent, stop_process

_SYSTEMCTL = """#!/bin/sh
echo "$*" >{folder}/asked
read -r status <{folder}/answered
exit "$status"
"""
_NGINX = """#!/bin/sh
exec {nginx} -c {folder}/nginx.conf "$@"
"""
_NGINX_CONF = """
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
daemon off;
{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {etc}/nginx/conf.d/*.conf;
}}
"""


class Machine:
    """`async with`: `programs` is a folder with its `systemctl` and `nginx`, `etc` its /etc."""

    def __init__(self, folder: Path) -> None:
        """folder: an existing empty one."""
        self.etc = folder / "etc"
        self.programs = folder / "programs"
        self.log = folder / "machine.log"
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._answers = -1

    async def __aenter__(self) -> Self:
        self.etc.mkdir()
        self.programs.mkdir()
        for name in ("asked", "answered"):
            os.mkfifo(self._folder / name)
        nginx = find_program("nginx")
        # As root its workers would not be let into this folder.
        user = "user root;" if os.geteuid() == 0 else ""
        fields = {"folder": self._folder, "etc": self.etc, "nginx": nginx, "user": user}
        for file, text in (
            (self.programs / "systemctl", _SYSTEMCTL),
            (self.programs / "nginx", _NGINX),
            (self._folder / "nginx.conf", _NGINX_CONF),
        ):
            file.write_text(text.format(**fields))
            file.chmod(0o755)
        # As Debian starts it, with nothing to serve.
        self.start("nginx", [str(self.programs / "nginx")])
        # Open for both, so that neither side has to be there first.
        self._answers = os.open(self._folder / "answered", os.O_RDWR)
        questions = os.open(self._folder / "asked", os.O_RDWR | os.O_NONBLOCK)
        reader = asyncio.StreamReader()
        self._pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(questions, "rb", buffering=0)
        )
        self._serving = asyncio.create_task(self._serve(reader))
        return self

    async def __aexit__(self, *raised: object) -> None:
        self._serving.cancel()
        self._pipe.close()
        os.close(self._answers)
        for process in self._running.values():
            await asyncio.to_thread(stop_process, process, signal.SIGTERM, seconds=10)

    def start(self, name: str, command: list[str], **options: Any) -> None:
        """Start a program that is to go on; its output goes to `log`."""
        with self.log.open("ab") as log:
            self._running[name] = subprocess.Popen(
                die_with_parent(command, signal.SIGKILL),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,
                **options,
            )

    async def _serve(self, questions: asyncio.StreamReader) -> None:
        while words := (await questions.readline()).decode().split():
            status = 0
            try:
                await self._systemctl(words)
            except Exception as refused:
                status = 1
                with self.log.open("a") as log:
                    log.write(f"systemctl {' '.join(words)}: {refused!r}\n")
            os.write(self._answers, f"{status}\n".encode())

    async def _systemctl(self, words: list[str]) -> None:
        match words:
            case ["daemon-reload"]:
                pass
            case ["enable", "--now", *units]:
                for unit in units:
                    self._start_unit(unit)
            case ["restart", unit]:
                await self._stop_unit(unit)
                self._start_unit(unit)
            case ["reload", "nginx"]:
                self._running["nginx"].send_signal(signal.SIGHUP)
            case _:
                raise ValueError(f"systemctl {' '.join(words)}")

    def _service(self, unit: str) -> dict[str, str]:
        name, _, instance = unit.partition("@")
        file = self.etc / "systemd/system" / f"{name}{'@' if instance else ''}.service"
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        parser.optionxform = str  # type: ignore[assignment, method-assign]
        parser.read_string(file.read_text())
        return {key: value.replace("%i", instance) for key, value in parser["Service"].items()}

    def _start_unit(self, unit: str) -> None:
        service = self._service(unit)
        assignments = shlex.split(Path(service["EnvironmentFile"]).read_text(), comments=True)
        environment = dict(each.split("=", 1) for each in assignments)
        self.start(unit, shlex.split(service["ExecStart"]), env=environment)

    async def _stop_unit(self, unit: str) -> None:
        process = self._running.pop(unit)
        seconds = float(self._service(unit)["TimeoutStopSec"])
        status = await asyncio.to_thread(stop_process, process, signal.SIGTERM, seconds=seconds)
        if status != 0:
            raise RuntimeError(f"{unit} ended with {status}")
