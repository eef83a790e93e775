"""The JavaScript tests, on Node's runner: one test here for each file there."""

from __future__ import annotations

import subprocess

import pytest

from .node import HERE, NODE

FILES = sorted(file.name for file in HERE.glob("*.test.js"))


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
