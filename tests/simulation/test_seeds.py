"""The first seeds of `make simulate`, and that a seed is a seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .world import run

SEEDS = 50
EACH = 5
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("first", range(1, SEEDS + 1, EACH))
def test_every_promise_holds(first: int) -> None:
    for seed in range(first, first + EACH):
        outcome = run(seed)
        assert outcome.fault is None, "\n".join(
            [*outcome.lines[-40:], f"seed {seed}: {outcome.fault}"]
        )


def test_the_same_seed_gives_the_same_trace() -> None:
    first, second = run(3), run(3)
    assert first.lines == second.lines
    assert first.digest == second.digest
    assert run(4).digest != first.digest


def test_the_trace_does_not_depend_on_the_hash_seed() -> None:
    program = "from tests.simulation.world import run; print(run(5).digest)"
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(digests) == 1
