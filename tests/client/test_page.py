"""The example in docs/client.md, followed to the letter in Node.js."""

from __future__ import annotations

import asyncio
import signal
import subprocess
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
    program = await asyncio.create_subprocess_exec(
        *die_with_parent([NODE, "follow.mjs"], signal.SIGKILL),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
    )
    assert program.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            assert await program.stdout.readline() == b"demo/alice/USDT 10000.000000 snapshot\n"
            assert await program.stdout.readline() == b"main/alice/USDT 10000.000000 snapshot\n"
            root = {"Authorization": f"Bearer {await running.dev_token('root', 'superadmin')}"}
            async with httpx.AsyncClient(base_url=running.base_url, headers=root) as http:
                body = {"user_id": "alice", "asset": "USDT", "amount": "1.5"}
                (await http.post("/v1/deposits", json=body)).raise_for_status()
            assert await program.stdout.readline() == b"main/alice/USDT 10001.500000 verified\n"
    finally:
        program.kill()
        await program.wait()
