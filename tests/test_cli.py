"""The command line as an operator meets it: what it says, and its exit codes."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import socket
import sqlite3
import subprocess
from pathlib import Path

import httpx
import jwt
import pytest

from .conftest import RunTallywire, StartServer
from .services.postgres import PostgresServer
from .services.server import COMMAND, SECRET, server_environment

COMMANDS = [
    "serve",
    "worker",
    "upgrade",
    "token",
    "asset",
    "book",
    "pair",
    "import-balances",
    "verify",
    "rebuild",
    "reconcile",
    "export",
    "import",
    "bench",
    "epoch",
    "pause",
    "resume",
    "watch",
]


def _one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The message of a command that could not run: exit 2, one line, nothing on stdout."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_example(command: str, tallywire: RunTallywire) -> None:
    done = tallywire(command, "--help")
    assert done.returncode == 0
    assert f"tallywire {command}" in done.stdout.partition("\n")[2]


def test_help_lists_every_command(tallywire: RunTallywire) -> None:
    done = tallywire("--help")
    assert done.returncode == 0
    assert all(f"  {command} " in done.stdout for command in COMMANDS)


def test_a_wrong_option_is_exit_2(tallywire: RunTallywire) -> None:
    done = tallywire("verify", "--nonsense")
    assert done.returncode == 2
    assert "--nonsense" in done.stderr


class TestCannotRun:
    @pytest.mark.parametrize("command", ["verify", "pause", "asset"])
    def test_a_missing_file_is_not_made(
        self, command: str, tallywire: RunTallywire, empty_sqlite_url: str, tmp_path: Path
    ) -> None:
        line = _one_line(tallywire(command, database_url=empty_sqlite_url))
        assert "there is no database" in line
        assert "tallywire upgrade" in line
        assert not (tmp_path / "empty.db").exists()

    def test_an_empty_database_is_not_filled(
        self, tallywire: RunTallywire, empty_postgres_url: str
    ) -> None:
        assert "tallywire upgrade" in _one_line(
            tallywire("verify", database_url=empty_postgres_url)
        )

    @pytest.mark.parametrize("command", ["verify", "upgrade", "serve"])
    def test_a_database_that_is_not_there(self, command: str, tallywire: RunTallywire) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"postgresql://nobody@127.0.0.1:{unused.getsockname()[1]}/none"
            line = _one_line(tallywire(command, database_url=url, env={"PORT": "0"}))
        assert "the database" in line

    def test_a_database_name_that_does_not_exist(
        self, tallywire: RunTallywire, postgres_server: PostgresServer
    ) -> None:
        url = postgres_server.url("no_such_database")
        assert "no_such_database" in _one_line(tallywire("upgrade", database_url=url))

    @pytest.mark.parametrize("url", ["nonsense", "mysql://h/x", "sqlite://"])
    def test_a_malformed_address(self, url: str, tallywire: RunTallywire) -> None:
        assert _one_line(tallywire("upgrade", database_url=url)).startswith("Error: ")

    def test_a_password_is_never_printed(self, tallywire: RunTallywire) -> None:
        url = "postgresql://me:hunter2@127.0.0.1:1/x"
        assert "hunter2" not in _one_line(tallywire("upgrade", database_url=url))

    def test_a_folder_that_cannot_be_made(self, tallywire: RunTallywire, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        url = f"sqlite+aiosqlite:///{tmp_path}/file/below/t.db"
        assert f"{tmp_path}/file" in _one_line(tallywire("upgrade", database_url=url))

    def test_a_file_that_is_no_database(self, tallywire: RunTallywire, tmp_path: Path) -> None:
        (tmp_path / "letter").write_text("Dear Sir or Madam, " * 100)
        url = f"sqlite+aiosqlite:///{tmp_path}/letter"
        assert "not a database" in _one_line(tallywire("verify", database_url=url))

    @pytest.mark.parametrize("command", ["serve", "verify", "upgrade"])
    def test_a_newer_schema(self, command: str, tallywire: RunTallywire, sqlite_url: str) -> None:
        _set_schema_version(sqlite_url, "9999")
        line = _one_line(tallywire(command, database_url=sqlite_url, env={"PORT": "0"}))
        assert "newer" in line

    def test_a_short_secret(self, tallywire: RunTallywire) -> None:
        line = _one_line(tallywire("token", "alice", secret="short"))
        assert "TALLYWIRE_SECRET" in line
        assert "32 characters" in line
        assert "short" not in line

    def test_another_host_without_a_secret(self, tallywire: RunTallywire) -> None:
        line = _one_line(tallywire("serve", "--host", "0.0.0.0", secret=None))  # noqa: S104
        assert "TALLYWIRE_SECRET" in line

    def test_a_taken_port(self, tallywire: RunTallywire, sqlite_url: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = str(other.getsockname()[1])
            line = _one_line(tallywire("serve", "--port", port, database_url=sqlite_url))
        assert f"port {port} on 127.0.0.1 is taken" in line

    def test_many_workers(self, tallywire: RunTallywire) -> None:
        many, postgres = ("serve", "--workers", "2"), "postgresql://localhost/x"
        redis = {"REDIS_URL": "redis://localhost"}
        assert "PostgreSQL" in _one_line(tallywire(*many, env=redis))
        assert "REDIS_URL" in _one_line(tallywire(*many, database_url=postgres))
        line = _one_line(tallywire(*many, database_url=postgres, env=redis, secret=None))
        assert "TALLYWIRE_SECRET" in line

    def test_many_workers_that_cannot_start_say_why_once(
        self, tallywire: RunTallywire, empty_postgres_url: str
    ) -> None:
        redis = {"REDIS_URL": "redis://127.0.0.1:1"}
        url = empty_postgres_url.rpartition("/")[0] + "/no-such-database"
        many = ("serve", "--port", "0", "--workers", "2")
        done = tallywire(*many, database_url=url, env=redis)
        errors = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
        assert (done.returncode, len(errors)) == (2, 1), done.stderr

    def test_a_development_token_without_a_server(self, tallywire: RunTallywire) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            env = {"PORT": str(unused.getsockname()[1])}
            line = _one_line(tallywire("token", "alice", secret=None, env=env))
        assert "tallywire serve" in line


def _set_schema_version(sqlite_url: str, version: str) -> None:
    connection = sqlite3.connect(sqlite_url.partition(":///")[2])
    with connection:
        connection.execute("UPDATE tallywire_version SET version_num = ?", (version,))
    connection.close()


def test_upgrade_makes_a_ledger_and_may_be_repeated(
    tallywire: RunTallywire, empty_database_url: str
) -> None:
    for _ in range(2):
        done = tallywire("upgrade", database_url=empty_database_url)
        assert (done.returncode, done.stderr) == (0, "")
    listed = tallywire("book", database_url=empty_database_url)
    assert listed.stdout.splitlines() == [
        "main\tcredit\tself_service=true",
        "demo\tcredit\tself_service=true",
    ]


def test_token_is_signed_with_the_first_secret(tallywire: RunTallywire) -> None:
    secrets = f"{SECRET},{SECRET[::-1]}"
    done = tallywire("token", "alice", "--role", "admin", "--ttl", "60", secret=secrets)
    claims = jwt.decode(done.stdout.strip(), SECRET, algorithms=["HS256"])
    assert (claims["sub"], claims["role"], claims["exp"] - claims["iat"]) == ("alice", "admin", 60)


def test_token_refuses_what_is_no_user(tallywire: RunTallywire) -> None:
    _one_line(tallywire("token", "@house"))


def test_assets_are_made_and_listed(tallywire: RunTallywire, sqlite_url: str) -> None:
    done = tallywire("asset", "GBP", "--scale", "2", database_url=sqlite_url)
    assert (done.returncode, done.stderr) == (0, "")
    listed = tallywire("asset", database_url=sqlite_url).stdout.splitlines()
    assert "GBP\t2" in listed
    assert "USDT\t6" in listed


def test_a_pair_is_made_and_changed(tallywire: RunTallywire, sqlite_url: str) -> None:
    durations = ("--duration", "3600=0.92", "--duration", "60=0.85")
    made = tallywire("pair", "BTC-EUR", "--minimum", "0.001", *durations, database_url=sqlite_url)
    assert (made.returncode, made.stderr) == (0, "")
    changed = tallywire("pair", "BTC-EUR", "--fee-bps", "25", database_url=sqlite_url)
    first, *_ = changed.stdout.splitlines()
    assert first.split("\t") == [
        "BTC-EUR",
        "price_decimals=2",
        "minimum=0.00100000",
        "fee_bps=25",
        "durations=60=0.8500,3600=0.9200",
        "maximum_stake=1000.00",
        "exposure_limit=100000.00",
        "stale_after_s=15",
        "settlement_age_s=60",
    ]
    line = _one_line(tallywire("pair", "BTC-GBP", "--minimum", "1", database_url=sqlite_url))
    assert "GBP" in line


def test_a_book_is_made_and_its_side_stays(tallywire: RunTallywire, sqlite_url: str) -> None:
    assert tallywire("book", "rent", "--side", "debit", database_url=sqlite_url).returncode == 0
    tallywire("book", "lent", "--default-floor", "none", database_url=sqlite_url)
    zone = ("--timezone", "Europe/Athens", "--closed-through", "2024-10-31")
    listed = tallywire("book", "rent", *zone, database_url=sqlite_url).stdout.splitlines()
    assert "lent\tcredit\tdefault_floor=none" in listed
    assert "rent\tdebit\ttimezone=Europe/Athens\tclosed_through=2024-10-31" in listed
    line = _one_line(tallywire("book", "rent", "--side", "credit", database_url=sqlite_url))
    assert "rent" in line


def test_verify_of_a_sound_ledger_is_exit_0(tallywire: RunTallywire, database_url: str) -> None:
    done = tallywire("verify", database_url=database_url)
    assert (done.returncode, done.stdout) == (0, "")


async def test_verify_names_what_was_changed_by_hand(
    server: StartServer, tallywire: RunTallywire, sqlite_url: str
) -> None:
    running = await server(database_url=sqlite_url)
    async with httpx.AsyncClient(base_url=running.base_url) as client:
        body = {"user_id": "alice", "asset": "USD", "amount": "5.00"}
        answer = await client.post(
            "/v1/deposits", json=body, headers=running.headers("root", "admin")
        )
    assert answer.status_code == 201
    assert await running.terminate() == 0
    connection = sqlite3.connect(sqlite_url.partition(":///")[2])
    with connection:
        connection.execute("UPDATE accounts SET balance = 501 WHERE owner = 'alice'")
    connection.close()

    done = tallywire("verify", database_url=sqlite_url)
    assert done.returncode == 1
    assert "MISMATCH SNAPSHOT=REPLAY main/alice/USD 5.01 5.00 0.01" in done.stdout.splitlines()
    report = tallywire("verify", "--json", "--user-id", "alice", database_url=sqlite_url)
    assert report.returncode == 1
    assert json.loads(report.stdout)["details"][0]["account"] == "main/alice/USD"


async def test_pause_reaches_a_running_server(
    server: StartServer, tallywire: RunTallywire, postgres_url: str
) -> None:
    running = await server(database_url=postgres_url)
    body = {"user_id": "alice", "asset": "USD", "amount": "5.00"}
    statuses = []
    async with httpx.AsyncClient(base_url=running.base_url) as client:
        for command in ("pause", "resume"):
            done = await asyncio.to_thread(tallywire, command, database_url=postgres_url)
            assert (done.returncode, done.stderr) == (0, "")
            answer = await client.post(
                "/v1/deposits", json=body, headers=running.headers("root", "admin")
            )
            statuses.append(answer.status_code)
    assert statuses == [503, 201]


async def test_serve_in_development_prints_a_curl_that_works(server: StartServer) -> None:
    running = await server(secret=None)
    (command,) = (line for line in running.log_text().splitlines() if line.startswith("curl "))
    done = await asyncio.to_thread(
        subprocess.run, shlex.split(command), capture_output=True, check=True, timeout=20
    )
    (update,) = json.loads(done.stdout)["updates"]
    assert update["changes"][0]["amount"] == "12.500000"
    assert update["changes"][0]["balance"] == "10012.500000"


async def test_serve_in_earnest_prints_no_token(server: StartServer) -> None:
    running = await server()
    assert f"Tallywire serves {running.base_url}\n" in running.log_text()
    assert "Bearer" not in running.log_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_serve_drains_and_ends_with_0(number: signal.Signals, server: StartServer) -> None:
    running = await server()
    assert await running.terminate(number) == 0
    assert "Traceback" not in running.log_text()


async def test_watch_shows_a_change_and_survives_a_restart(
    server: StartServer, tmp_path: Path, database_url: str
) -> None:
    running = await server(database_url=database_url)
    log = tmp_path / "watch.log"
    with log.open("wb") as output:
        watching = await asyncio.create_subprocess_exec(
            *(*COMMAND, "watch", "alice", "--url", running.base_url),
            env=server_environment(database_url),
            cwd=tmp_path,
            stdout=output,
            stderr=output,
        )
    try:
        await _deposit_and_see(running.base_url, running.headers("root", "admin"), "5.25", log)
        await running.restart()
        await _deposit_and_see(running.base_url, running.headers("root", "admin"), "7.75", log)
    finally:
        watching.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(watching.wait(), 10) == 0
    assert "Traceback" not in log.read_text()


async def _deposit_and_see(base_url: str, headers: dict[str, str], amount: str, log: Path) -> None:
    async with asyncio.timeout(20):
        while "-- alice at position" not in log.read_text():
            await asyncio.sleep(0.02)
        async with httpx.AsyncClient(base_url=base_url, headers=headers) as client:
            body = {"user_id": "alice", "asset": "USD", "amount": amount}
            assert (await client.post("/v1/deposits", json=body)).status_code == 201
        while f"main USD  +{amount} = " not in log.read_text():
            await asyncio.sleep(0.02)
