"""The example in docs/client.md, followed to the letter in Node.js."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import threading
from pathlib import Path

import httpx

from ..conftest import StartServer
from ..docs.pages import texts
from ..services.processes import die_with_parent
from .node import NODE, PATIENCE


async def test_the_example_follows_a_user(
    server: StartServer, empty_sqlite_url: str, tmp_path: Path
) -> None:
    running = await server(database_url=empty_sqlite_url, secret=None)

    def here(text: str) -> str:
        return text.replace("http://127.0.0.1:3000", running.base_url)

    (command,) = texts("docs/client.md", "sh")
    (example,) = texts("docs/client.md", "js")
    fetched = await asyncio.create_subprocess_shell(here(command), cwd=tmp_path)
    assert await fetched.wait() == 0
    (tmp_path / "follow.mjs").write_text(here(example))
    command_line = die_with_parent([NODE, "follow.mjs"], signal.SIGKILL)
    with subprocess.Popen(command_line, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        timer = threading.Timer(PATIENCE, program.kill)
        timer.start()

        async def line() -> str:
            assert program.stdout is not None
            return await asyncio.to_thread(program.stdout.readline)

        try:
            assert await line() == "demo/alice/USDT 10000.000000 snapshot\n"
            assert await line() == "main/alice/USDT 10000.000000 snapshot\n"
            root = {"Authorization": f"Bearer {await running.dev_token('root', 'superadmin')}"}
            async with httpx.AsyncClient(base_url=running.base_url, headers=root) as http:
                body = {"user_id": "alice", "asset": "USDT", "amount": "1.5"}
                (await http.post("/v1/deposits", json=body)).raise_for_status()
            assert await line() == "main/alice/USDT 10001.500000 verified\n"
        finally:
            timer.cancel()
            program.kill()
