"""The JavaScript tests, on Node's runner: one test here for each file there."""

from __future__ import annotations

import subprocess

import pytest
from tallywire.ws import closes

from .node import HERE, NODE

CLIENT = HERE.parent.parent / "static/tallywire-client.js"

FILES = sorted(file.name for file in HERE.glob("*.test.js"))


def test_the_reason_that_the_client_knows_is_the_servers() -> None:
    assert f'NO_CONNECT = "{closes.NO_CONNECT.reason}"' in CLIENT.read_text()


@pytest.mark.parametrize("name", FILES)
def test_on_node(name: str) -> None:
    done = subprocess.run(
        [NODE, "--test", "--test-reporter=spec", str(HERE / name)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
