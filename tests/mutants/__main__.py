"""`python -m tests.mutants [NAME ...]`: plant each bug in a copy, and see its test fail."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .planted import Mutant, mutants, plant

FAILED = 1


def main() -> int:
    """1 where a bug was not noticed or no longer applies, 2 where there is none of that name."""
    known = {mutant.name: mutant for mutant in mutants()}
    wanted = sys.argv[1:] or list(known)
    if unknown := [name for name in wanted if name not in known]:
        print(f"not among the planted bugs: {', '.join(unknown)}; there are {', '.join(known)}")
        return 2
    unnoticed = []
    for mutant in (known[name] for name in wanted):
        started = time.monotonic()
        said = "caught" if _is_caught(mutant) else "NOT CAUGHT"
        print(f"{mutant.name}: {said} in {time.monotonic() - started:.0f} s", flush=True)
        if said != "caught":
            unnoticed.append(mutant.name)
    print(f"not caught: {', '.join(unnoticed)}" if unnoticed else "all were caught")
    return 1 if unnoticed else 0


def _is_caught(mutant: Mutant) -> bool:
    with tempfile.TemporaryDirectory(prefix="tallywire-mutant-") as folder:
        tree = Path(folder)
        try:
            plant(mutant, tree)
        except subprocess.CalledProcessError as error:
            print(error.stderr.decode())
            return False
        program, *arguments = shlex.split(mutant.test)
        done = subprocess.run(
            [sys.executable if program == "python" else program, *arguments],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree / "import")},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != FAILED:
            print(done.stdout[-2000:], done.stderr[-2000:])
        else:
            print("  " + _last_words(done.stdout))
        return done.returncode == FAILED


def _last_words(output: str) -> str:
    said = [line for line in output.splitlines() if line.strip()]
    return " / ".join(line.strip()[:160] for line in said[-2:])


if __name__ == "__main__":
    sys.exit(main())
